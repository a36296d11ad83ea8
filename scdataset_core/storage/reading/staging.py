"""Reads few numbers whose targets are of another type, by way of buffers like these."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from .conversion import convert
from .requests import Request

__all__ = ["Staging"]

Targets = Sequence[npt.NDArray[Any]]


class Staging:
    """Buffers that are laid out as targets are, in the types of the arrays.

    Parameters
    ----------
    context
        Gives the memory.
    """

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._groups: dict[tuple[int, np.dtype[Any]], _Group] = {}

    def redirect(self, request: Request) -> Request:
        """Return the request with buffers in place of its targets."""
        targets, dtype = request.targets, request.array.dtype
        key = id(targets), dtype
        if key not in self._groups:
            buffers = [self._context.empty(len(target), dtype) for target in targets]
            self._groups[key] = _Group(targets, buffers, [])
        group = self._groups[key]
        group.requests.append(request)
        return replace(request, targets=group.buffers)

    def finish(self) -> None:
        """Convert what was read, when all of it was, and bring it to the targets."""
        for group in self._groups.values():
            group.convert()


class _Group(NamedTuple):
    """Targets, buffers like them, and the requests that go there."""

    targets: Targets
    buffers: Targets
    requests: list[Request]

    def convert(self) -> None:
        """Convert what was read, and nothing else."""
        counts = [request.stops - request.starts for request in self.requests]
        if sum(int(count.sum()) for count in counts) == sum(map(len, self.targets)):
            for target, buffer in zip(self.targets, self.buffers, strict=True):
                convert(buffer, target)
            return
        for request, count in zip(self.requests, counts, strict=True):
            columns = request.which, request.offsets, count
            for which, at, n in zip(*(c.tolist() for c in columns), strict=True):
                some = slice(at, at + n)
                convert(self.buffers[which][some], self.targets[which][some])
