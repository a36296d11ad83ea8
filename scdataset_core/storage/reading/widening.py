"""Reads to memory of another type that is laid out as the targets, and converts it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from .conversion import convert
from .requests import find_addresses

__all__ = ["Widening", "count_shares", "run_shares", "widen_all"]

# Fewer bytes are widened sooner than another thread wakes up to help.
LEAST_SHARED = 4 << 20

Integers = npt.NDArray[np.int64]
Targets = Sequence[npt.NDArray[Any]]


class Widening:
    """Memory that is read to in place of targets, and then widened to them.

    Parameters
    ----------
    targets
        Where the elements are to be in the end.
    dtype
        In which type they are read; where it is that of the targets, they are read to
        them.
    context
        Gives the memory.

    Attributes
    ----------
    addresses : ndarray of int64
        Where each target is read to.
    memory : sequence of ndarray
        What lies there.
    bound : int or None
        A number that no integer which was widened is above; None: it is not known.
    """

    def __init__(
        self, targets: Targets, dtype: np.dtype[Any], context: ReadContext
    ) -> None:
        self._wide = targets
        self._largest: list[int] = []
        self._has_bound = dtype.kind == "u" and targets[0].dtype.kind == "i"
        self.memory: Targets
        if dtype == targets[0].dtype:
            self.memory, self.addresses = targets, find_addresses(targets)
            return
        edges = np.zeros(len(targets) + 1, np.int64)
        np.cumsum([target.size for target in targets], out=edges[1:], dtype=np.int64)
        self._edges: list[int] = edges.tolist()
        buffer = context.empty(self._edges[-1], dtype)
        self.memory = [buffer]
        # The memory cut into arrays of the shapes of the targets.
        pairs = zip(pairwise(self._edges), targets, strict=True)
        self._narrow = [buffer[a:b].reshape(target.shape) for (a, b), target in pairs]
        self.addresses = find_addresses(self.memory) + edges[:-1] * dtype.itemsize

    @property
    def is_direct(self) -> bool:
        """Whether nothing is to be widened."""
        return self.memory is self._wide

    def widen(self, first: int, stop: int) -> None:
        """Widen all elements of some targets, those that were not read too."""
        wide, narrow = self._wide[first:stop], self._narrow[first:stop]
        with np.errstate(invalid="ignore"):  # what was not read may be anything
            for target, buffer in zip(wide, narrow, strict=True):
                convert(buffer, target)
        if self._has_bound:
            some = self.memory[0][self._edges[first] : self._edges[stop]]
            self._largest.append(int(some.max(initial=0)))

    @property
    def bound(self) -> int | None:
        """See the class."""
        return max(self._largest, default=0) if self._has_bound else None

    def widen_ranges(self, which: Integers, offset: Integers, n: Integers) -> None:
        """Widen rows of targets: `n` from `offset` on of target `which`, for each."""
        wide, narrow = self._wide, self._narrow
        columns = which.tolist(), offset.tolist(), n.tolist()
        with np.errstate(invalid="ignore"):
            for target, start, count in zip(*columns, strict=True):
                rows = slice(start, start + count)
                convert(narrow[target][rows], wide[target][rows])

    def share(self, n: int) -> list[Callable[[], None]]:
        """Return about `n` functions that together widen all elements."""
        count = len(self._wide)
        edges = [count * i // n for i in range(n + 1)]
        return [partial(self.widen, a, b) for a, b in pairwise(edges) if a < b]


def widen_all(
    widenings: Iterable[Widening], context: ReadContext, *, n_bytes: int
) -> None:
    """Widen all elements of all targets, on several threads if they are many bytes."""
    some = [widening for widening in widenings if not widening.is_direct]
    n = count_shares(n_bytes, context)
    run_shares([task for widening in some for task in widening.share(n)], n, context)


def count_shares(n_bytes: int, context: ReadContext) -> int:
    """Return among how many threads the widening of so many bytes is shared."""
    return 1 if n_bytes < LEAST_SHARED else context.threads


def run_shares(
    tasks: Sequence[Callable[[], None]], n: int, context: ReadContext
) -> None:
    """Do tasks that widen: on the context's threads, or for one share in this one."""
    if n > 1:
        context.run(tasks)
        return
    for task in tasks:
        task()
