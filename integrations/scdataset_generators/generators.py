"""Generators that yield a Loader's minibatches or its single cells."""

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from scdataset_core import Loader
from scdataset_core.adapters import check_loader

__all__ = ["batches", "cells", "forever"]


def batches(loader: Loader) -> Generator[Any, None, None]:
    """Yield the minibatches of the loader's next epoch, unchanged.

    The epoch starts with the first ``next``. The reading threads stop when you leave
    the loop, close the generator or drop it. An error in a reading thread is raised in
    the loop.

    Parameters
    ----------
    loader
        The Loader to iterate over; it may be one rank's or one worker's shard.

    Yields
    ------
    batch
        The batches that iterating over `loader` gives, in the same order.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(6), scd.Streaming(), batch_size=4)
    >>> [batch.tolist() for batch in batches(loader)]
    [[0, 1, 2, 3], [4, 5]]
    """
    check_loader(loader)
    return _iterate_batches(loader)


def cells(loader: Loader) -> Generator[Any, None, None]:
    """Yield the cells of the loader's next epoch, one at a time.

    The Loader still reads whole fetches. Taking single rows out of a sparse minibatch
    takes longer than reading the minibatch. Filled rows of padded minibatches are left
    out.

    Parameters
    ----------
    loader
        The Loader to iterate over; cells come in the order of its minibatches.

    Yields
    ------
    cell
        One row of a minibatch. An array loses its first axis, and so does every entry
        of a dict or tuple. A sparse matrix and an `AnnData` cannot lose it, and keep
        it with length 1.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If its minibatches are made of sets of cells, which belong together.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(6), scd.Streaming(), batch_size=4)
    >>> [int(cell) for cell in cells(loader)]
    [0, 1, 2, 3, 4, 5]
    """
    check_loader(loader)
    if getattr(loader.strategy, "set_sizes", None) is not None:
        raise ValueError(
            f"cells() takes minibatches apart, and the cells of a set belong together"
            f" ({loader.strategy!r}); use batches(loader)"
        )
    return _iterate_cells(loader)


def forever(loader: Loader) -> Generator[Any, None, None]:
    """Yield minibatches epoch after epoch, each in its own order, without end.

    Parameters
    ----------
    loader
        The Loader to iterate over. An epoch has ``len(loader)`` minibatches, and
        ``loader.epoch`` is the epoch that the latest minibatch belongs to.

    Yields
    ------
    batch
        The batches that iterating over `loader` gives, in the same order.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If an epoch of `loader` has no minibatch.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(6), scd.Streaming(), batch_size=4)
    >>> [len(batch) for batch in itertools.islice(forever(loader), 5)]
    [4, 2, 4, 2, 4]
    """
    check_loader(loader)
    _check_not_empty(loader)
    return _iterate_forever(loader)


# The public functions are no generators themselves, since the body of a generator, and
# so its checks, would only run at the first `next`.


def _iterate_batches(loader: Loader) -> Generator[Any, None, None]:
    with closing(iter(loader)) as iterator:
        yield from iterator


def _iterate_cells(loader: Loader) -> Generator[Any, None, None]:
    with closing(_iterate_batches(loader)) as iterator:
        for batch in iterator:
            for row in range(_count_cells(batch)):
                yield _take_cell(batch, row)


def _iterate_forever(loader: Loader) -> Generator[Any, None, None]:
    while True:
        _check_not_empty(loader)  # the epochs of a strategy may differ in length
        yield from _iterate_batches(loader)


def _check_not_empty(loader: Loader) -> None:
    if len(loader) == 0:
        raise ValueError(
            "forever would never yield: an epoch of this loader has no minibatch;"
            f" give a smaller batch_size or drop_last=False ({loader!r})"
        )


def _count_cells(batch: Any) -> int:
    """Return how many cells a minibatch holds; filled rows do not count."""
    if isinstance(batch, Mapping):
        if "index" in batch:
            return int(np.count_nonzero(np.asarray(batch["index"]) >= 0))
        return _count_cells(next(iter(batch.values())))
    if isinstance(batch, tuple):
        return _count_cells(batch[0])
    return int(batch.shape[0]) if hasattr(batch, "shape") else len(batch)


def _take_cell(part: Any, row: int) -> Any:
    """Return one row of a minibatch, or of one entry of a minibatch."""
    if isinstance(part, Mapping):
        return {name: _take_cell(entry, row) for name, entry in part.items()}
    if isinstance(part, tuple):
        return tuple(_take_cell(entry, row) for entry in part)
    if isinstance(part, np.ndarray | list):
        return part[row]
    return part[row : row + 1]
