"""Checks the options of a Loader, and chooses what makes its minibatches of them."""

from typing import Any

import numpy.typing as npt

from .batching import Batching, ObjectBatching, SourceBatching
from .form import OutputName, Overflow, Width, find_output
from .hooks import Hooks, check_with_source
from .sets import SetSizes
from .sources.base import Source

__all__ = ["make_batching"]


def make_batching(
    collection: Any,  # Any: a Source, or any object with len() and obj[rows]
    hooks: Hooks,
    *,
    output: OutputName | None,
    dtype: npt.DTypeLike | None,
    width: Width,
    overflow: Overflow,
    batch_size: int,
    set_sizes: SetSizes | None = None,
) -> Batching:
    """Check the options of a Loader, and return what makes its minibatches.

    Raises
    ------
    ValueError
        If an option goes with a source and `collection` is no source, or the output or
        `batch_size` does not go with sets of cells.
    """
    if set_sizes is not None:
        _check_sets(set_sizes, collection, output, batch_size)
    if not isinstance(collection, Source):
        for name, value in (("output", output), ("dtype", dtype), ("width", width)):
            if value is not None:
                raise ValueError(
                    f"{name} goes with a source, and a {type(collection).__name__} is"
                    f" not one: its batches are of its own type; pass"
                    f" scdataset_core.open(obj) for dict batches"
                )
        return ObjectBatching(collection, hooks)
    if width is not None and (output is None or not find_output(output).takes_width):
        raise ValueError('width goes with output="padded"')
    form = collection.form_of(output, dtype=dtype, width=width, overflow=overflow)
    check_with_source(hooks, collection)
    return SourceBatching(
        collection,
        hooks,
        form=form,
        output=find_output(form.output if output is None else output),
        batch_size=batch_size,
        set_sizes=set_sizes,
    )


def _check_sets(
    sizes: SetSizes, collection: Any, output: OutputName | None, batch_size: int
) -> None:
    """Raise if sets of cells do not go with what minibatches are."""
    sizes.check_batch_size(batch_size)
    if not isinstance(collection, Source):
        raise ValueError(
            "sets of cells go with dict batches, which hold the group of each set, and"
            f" those of a {type(collection).__name__} are of its own type; pass"
            " scdataset_core.open(obj)"
        )
    if output == "anndata":
        raise ValueError(
            'output="anndata" has no place for the groups and controls of sets of'
            ' cells; ask for "csr", "dense" or "padded"'
        )
    if sizes.may_be_short and output != "padded":
        raise ValueError(
            'short="keep" fills short sets with empty rows, which only output="padded"'
            f' has, got output={output!r}; ask for it, or for short="resample"'
        )
