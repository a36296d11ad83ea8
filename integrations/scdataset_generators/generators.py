"""Minibatches and cells as generators, for whatever takes an iterable."""

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from scdataset_core import Loader

__all__ = ["batches", "cells", "forever"]


def batches(loader: Loader) -> Generator[Any, None, None]:
    """Yield the minibatches of the loader's next epoch, unchanged.

    Leaving the loop, closing the generator and dropping it stop the reading threads;
    an error of theirs is raised in the loop. The epoch starts with the first ``next``.

    Parameters
    ----------
    loader
        Whose minibatches; also a shard of one.

    Yields
    ------
    batch
        What iterating over `loader` gives, in the same order.

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
    return _batches(_checked(loader, "batches"))


def cells(loader: Loader) -> Generator[Any, None, None]:
    """Yield the cells of the loader's next epoch, one at a time.

    Reading still goes by whole fetches; taking single rows out of a sparse minibatch
    takes longer than reading it. Filled rows of padded minibatches are left out.

    Parameters
    ----------
    loader
        Whose cells, in the order of its minibatches.

    Yields
    ------
    cell
        A minibatch without its first axis: an array loses it, and in a dict or tuple
        every entry does. What cannot lose it (a sparse matrix, an `AnnData`) keeps it
        with length 1.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(6), scd.Streaming(), batch_size=4)
    >>> [int(cell) for cell in cells(loader)]
    [0, 1, 2, 3, 4, 5]
    """
    return _cells(_checked(loader, "cells"))


def forever(loader: Loader) -> Generator[Any, None, None]:
    """Yield minibatches epoch after epoch, each in its own order, without end.

    Parameters
    ----------
    loader
        Whose minibatches. ``len(loader)`` of them are one epoch, and ``loader.epoch``
        says which epoch the latest one is of.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If an epoch of this loader has no minibatch.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(6), scd.Streaming(), batch_size=4)
    >>> [len(batch) for batch in itertools.islice(forever(loader), 5)]
    [4, 2, 4, 2, 4]
    """
    _check_yields(_checked(loader, "forever"))
    return _forever(loader)


# The public functions check at the call; a generator would at its first `next`.


def _batches(loader: Loader) -> Generator[Any, None, None]:
    with closing(iter(loader)) as iterator:
        yield from iterator


def _cells(loader: Loader) -> Generator[Any, None, None]:
    with closing(_batches(loader)) as iterator:
        for batch in iterator:
            for row in range(_n_cells(batch)):
                yield _cell(batch, row)


def _forever(loader: Loader) -> Generator[Any, None, None]:
    while True:
        _check_yields(loader)  # a strategy's epochs may differ in length
        yield from _batches(loader)


def _checked(loader: Loader, name: str) -> Loader:
    if isinstance(loader, Loader):
        return loader
    raise TypeError(
        f"{name} takes a Loader, got {type(loader).__name__}; such as"
        f" {name}(scd.Loader(source, scd.BlockShuffling(16), batch_size=64))"
    )


def _check_yields(loader: Loader) -> None:
    if len(loader) == 0:
        raise ValueError(
            "forever would never yield: an epoch of this loader has no minibatch;"
            f" give a smaller batch_size or drop_last=False ({loader!r})"
        )


def _n_cells(batch: Any) -> int:
    """Return how many cells a minibatch holds, filled rows left out."""
    if isinstance(batch, Mapping):
        if "index" in batch:
            return int(np.count_nonzero(np.asarray(batch["index"]) >= 0))
        return _n_cells(next(iter(batch.values())))
    if isinstance(batch, tuple):
        return _n_cells(batch[0])
    return int(batch.shape[0]) if hasattr(batch, "shape") else len(batch)


def _cell(part: Any, row: int) -> Any:
    """Return one row of a minibatch or of a part of it."""
    if isinstance(part, Mapping):
        return {name: _cell(entry, row) for name, entry in part.items()}
    if isinstance(part, tuple):
        return tuple(_cell(entry, row) for entry in part)
    if isinstance(part, np.ndarray | list):
        return part[row]
    return part[row : row + 1]
