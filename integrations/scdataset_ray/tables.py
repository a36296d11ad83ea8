"""Make Arrow tables of batches, in which a row is a cell."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["make_table"]

_FILLED = -1  # in batch["index"]: a row that fills a short padded batch


def make_table(batch: Any) -> pa.Table:
    """Return the table of a batch.

    Parameters
    ----------
    batch
        A batch of a Loader: a mapping of arrays with a row for each cell, of sparse
        matrices in CSR form, and of mappings of such. Any: a hook may have made it.

    Returns
    -------
    table
        A column for each array, and for each sparse matrix two of lists, ``indices``
        and ``data``. The name of what lies in a mapping has the mapping's name before
        it, except for ``batch["X"]`` and ``batch["obs"]``, whose parts have names of
        their own. Rows with the index −1, which fill padded batches, are left out.

    Raises
    ------
    TypeError
        If the batch or a part of it is something else.
    ValueError
        If two columns have one name, or different numbers of rows.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(
            "a row of a Ray data set is made of a batch that is a dict of arrays, and"
            f' this one is a {type(batch).__name__}; give the Loader output="csr",'
            ' "dense" or "padded"'
        )
    columns: dict[str, pa.Array] = {}
    for name, column in _columns(batch):
        if name in columns:
            raise ValueError(
                f"two columns of the data set have the name {name!r}; open without that"
                " obs column, obs=[...], or give another name to what a hook adds"
            )
        columns[name] = column
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"columns of a data set have a row for each cell, and these have {lengths}"
        )
    table = pa.table(columns)
    index = batch.get("index")
    if isinstance(index, np.ndarray) and (index == _FILLED).any():
        table = table.filter(pa.array(index != _FILLED))
    return table


def _columns(batch: Mapping[str, Any]) -> Iterator[tuple[str, pa.Array]]:
    for name, part in batch.items():
        if name in ("X", "obs") and isinstance(part, Mapping):
            for inner, one in part.items():
                yield from _part_columns(inner, one)
        elif name == "X" and _is_csr(part):
            yield from _csr_columns("", part)
        else:
            yield from _part_columns(name, part)


def _part_columns(name: str, part: Any) -> Iterator[tuple[str, pa.Array]]:
    if isinstance(part, Mapping):
        for inner, one in part.items():
            yield from _part_columns(f"{name}/{inner}", one)
    elif _is_csr(part):
        yield from _csr_columns(f"{name}/", part)
    else:
        yield name, _array(name, part)


def _is_csr(part: Any) -> bool:
    return getattr(part, "format", None) == "csr"


def _csr_columns(prefix: str, matrix: Any) -> Iterator[tuple[str, pa.Array]]:
    yield f"{prefix}indices", _lists(matrix.indptr, matrix.indices)
    yield f"{prefix}data", _lists(matrix.indptr, matrix.data)


def _lists(offsets: Any, values: Any) -> pa.Array:
    """Return lists, which are ranges of values."""
    make = pa.ListArray if len(values) <= np.iinfo(np.int32).max else pa.LargeListArray
    kind = np.int32 if make is pa.ListArray else np.int64
    return make.from_arrays(
        pa.array(offsets.astype(kind, copy=False)), pa.array(values)
    )


def _array(name: str, part: Any) -> pa.Array:
    if not isinstance(part, np.ndarray) or part.ndim == 0:
        raise TypeError(
            f"batch[{name!r}] is a {type(part).__name__}; columns of a data set are"
            " NumPy arrays and CSR matrices with a row for each cell"
        )
    if part.ndim == 1:
        return pa.array(part)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(part))
