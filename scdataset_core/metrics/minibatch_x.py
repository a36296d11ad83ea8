"""X of the minibatches of a Loader, whatever their type, as matrices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..loader import Loader
from ..sources.base import Source

__all__ = ["read_x"]


def read_x(loader: Loader, sizes: Sequence[int], x: bool | str) -> Iterator[Any]:
    """Yield X of the first minibatches of a Loader, sparse or dense.

    Parameters
    ----------
    loader
        A fresh Loader.
    sizes
        Cells of each minibatch; the rows that fill a padded minibatch up are left out.
    x
        The name of one array where X is several; else True.
    """
    batches = iter(loader)
    try:
        for n_cells, batch in zip(sizes, batches, strict=False):
            found = _find_x(batch, x)
            if isinstance(found, Mapping):
                kept = np.arange(len(found["length"])) < n_cells
                if "index" in batch:  # rows may be filled anywhere
                    kept = np.asarray(batch["index"]) >= 0
                found = _unpad(found, kept, _count_genes(loader.source, x))
            yield found
    finally:
        batches.close()


def _find_x(batch: Any, x: bool | str) -> Any:
    """Return X of a minibatch: of a dict, of an AnnData, or the minibatch itself."""
    found = batch
    if isinstance(batch, Mapping):
        if "X" not in batch:
            raise TypeError(
                f"minibatches hold no X, but {', '.join(map(str, batch))}; give x=False"
            )
        found = batch["X"]
    elif hasattr(batch, "obs"):
        found = batch.X
    if not isinstance(found, Mapping) or "indices" in found:
        return found
    if not isinstance(x, str) or x not in found:
        names = ", ".join(map(repr, found))
        raise TypeError(f"X is several arrays; give the name of one, x={names}")
    return found[x]


def _count_genes(source: Any, x: bool | str) -> int | None:
    """Return the columns of X, None if they are not known."""
    if not isinstance(source, Source):
        return None
    return len(source.info.parts.get(str(x), source.info.var_names))


def _unpad(
    padded: Mapping[str, Any], kept: npt.NDArray[np.bool_], n_vars: int | None
) -> Any:
    """Return those of the padded rows that are kept as a sparse array."""
    from scipy.sparse import csr_array

    values, indices = padded["values"][kept], padded["indices"][kept]
    lengths = np.asarray(padded["length"][kept], np.int64)
    stored = np.arange(values.shape[1]) < lengths[:, None]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    parts = (values[stored], indices[stored], starts)
    return csr_array(parts, shape=None if n_vars is None else (len(lengths), n_vars))
