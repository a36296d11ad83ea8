"""Reads what caches keep of encoded arrays, as uncompressed data are read.

The kept elements of an array lie in one piece, in a narrower type. They are read into
buffers that are laid out as the targets are, and widened from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout, ChunkCache
from .conversion import convert
from .merged_reads import read_tasks
from .requests import Pieces, Request, cut_at_chunks, merge_requests
from .uncompressed import plan_plain_reads

__all__ = ["read_cached"]

Integers = npt.NDArray[np.int64]
Targets = Sequence[npt.NDArray[Any]]


class _Kept(NamedTuple):
    """A part of a request that a cache keeps in one type."""

    request: Request
    cache: ChunkCache
    kind: int
    layout: ArrayLayout
    chunks: Integers

    def is_sound(self, context: ReadContext) -> bool:
        """Return whether what was read was not changed since it was checked."""
        array = self.request.array
        return self.cache.confirm(array, self.chunks, self.kind, self.layout, context)


def read_cached(requests: Sequence[Request], context: ReadContext) -> Sequence[Request]:
    """Read what caches keep of requests; return requests for the rest.

    Parameters
    ----------
    requests
        Requests; those of arrays without a cache are returned as they are. Targets may
        hold anything until all that is returned has been read too.
    context
        Threads, byte sources, buffers and counters.
    """
    asked: list[Request] = []
    rest: list[Request] = []
    for request in requests:
        (asked if _can_be_kept(request) else rest).append(request)
    cut = _cut(asked) if asked else None
    if cut is None:
        return requests
    kept: list[_Kept] = []
    n_chunks = 0
    pieces, edges, bounds = cut
    for number, request in enumerate(asked):
        here = slice(edges[number], edges[number + 1])
        chunks = pieces.chunk[here]
        cache = request.array.chunk_cache
        assert cache is not None
        kinds, layouts = cache.find_kept(request.array, chunks, context)
        some = request
        present = _list_kinds(kinds)
        for kind in present:
            mine = chunks
            if len(present) > 1:
                which = np.flatnonzero(kinds == kind)
                mine = chunks[which]
                some = _pick(request, pieces, here.start + which, bounds[number])
            if kind:
                kept.append(_Kept(some, cache, kind, layouts[kind], mine))
                n_chunks += 1 + int(np.count_nonzero(mine[1:] != mine[:-1]))
            else:
                rest.append(replace(some, is_uncached=True))
    if not kept:
        return rest
    try:
        n_bytes = _read(kept, context)
    except Exception as error:  # whatever is wrong with the cache, the source is there
        for cache in {id(part.cache): part.cache for part in kept}.values():
            cache.fail(error)
        return requests
    if not all(part.is_sound(context) for part in kept):
        return requests
    context.stats.add(chunks_cached=n_chunks, bytes_used=n_bytes)
    return rest


def _can_be_kept(request: Request) -> bool:
    """Return whether whole rows are wanted, of chunks that hold whole rows."""
    array = request.array
    return (
        array.chunk_cache is not None
        and request.columns is None
        and array.needed_grid.chunk_shape[1:] == array.shape[1:]
    )


def _cut(requests: Sequence[Request]) -> tuple[Pieces, list[int], list[int]] | None:
    """Cut the ranges of requests at their chunks, all at once.

    Returns
    -------
    pieces
        The pieces; their ranges are numbered over all requests.
    edges, bounds
        Where the pieces, and the ranges, of each request begin, and their number. None
        in place of all three: a range is out of bounds, which is left to those who
        raise the error.
    """
    counts = [len(request.starts) for request in requests]
    starts = np.concatenate([request.starts for request in requests])
    stops = np.concatenate([request.stops for request in requests])
    offsets = np.concatenate([request.offsets for request in requests])
    lengths = [len(request.array) for request in requests]
    rows = [request.array.needed_grid.chunk_shape[0] for request in requests]
    if (starts < 0).any() or (stops > np.repeat(lengths, counts)).any():
        return None
    pieces = cut_at_chunks(starts, stops, offsets, np.repeat(rows, counts))
    bounds = [0, *accumulate(counts)]
    edges = bounds
    if len(pieces.range) != bounds[-1]:
        edges = np.searchsorted(pieces.range, bounds).tolist()
    return pieces, edges, bounds


def _list_kinds(kinds: npt.NDArray[np.uint8]) -> list[int]:
    """Return the kinds that occur."""
    if not len(kinds):
        return [0]
    low, high = int(kinds.min()), int(kinds.max())
    return [low] if low == high else np.flatnonzero(np.bincount(kinds)).tolist()


def _pick(request: Request, pieces: Pieces, mine: Integers, bound: int) -> Request:
    """Return the request for some of its pieces, in the order of their rows.

    `bound` is the number of its first range among those that were cut.
    """
    rows = request.array.needed_grid.chunk_shape[0]
    first = pieces.chunk[mine] * rows + pieces.first[mine]
    order = np.argsort(first, kind="stable")
    mine, first = mine[order], first[order]
    return replace(
        request,
        starts=first,
        stops=first + pieces.n[mine],
        which=request.which[pieces.range[mine] - bound],
        offsets=pieces.offset[mine],
    )


def _read(kept: Sequence[_Kept], context: ReadContext) -> int:
    """Read and widen kept parts; return the bytes in their targets."""
    groups: dict[Any, _Group] = {}
    direct: set[Any] = set()  # targets that are read as they are
    requests = []
    n_bytes = 0
    for part in kept:
        request, layout = part.request, part.layout
        wide = request.targets[0].dtype
        n_rows = int((request.stops - request.starts).sum())
        n_bytes += n_rows * prod(layout.shape[1:]) * request.array.dtype.itemsize
        targets = request.targets
        which = tuple(map(id, targets))
        if layout.dtype == wide:
            direct.add(which)
        else:
            key = which, layout.dtype
            if key not in groups:
                groups[key] = _Group(targets, _like(targets, layout.dtype, context), [])
            groups[key].requests.append(request)
            targets = groups[key].narrow
        requests.append(replace(request, array=layout, targets=targets))
    reads, finish = plan_plain_reads(merge_requests(requests))
    context.run(read_tasks(reads, context))
    if finish is not None:
        finish()
    # Of several types for the same targets, the one with most elements goes first, to
    # all of them: what it puts in the places of others is overwritten.
    whole: list[Callable[[], None]] = []
    by_range: list[Callable[[], None]] = []
    seen = direct
    for key, group in sorted(groups.items(), key=lambda item: -item[1].n_rows):
        which = key[0]
        if which not in seen and 2 * group.n_rows >= sum(map(len, group.wide)):
            whole += group.widen_whole(context.threads)
        else:
            by_range.append(group.widen_ranges)
        seen.add(which)
    context.run(whole)
    context.run(by_range)
    return n_bytes


@dataclass(frozen=True, eq=False)
class _Group:
    """Targets, buffers of a narrower type laid out like them, and what goes there."""

    wide: Targets
    narrow: Targets
    requests: list[Request]

    @property
    def n_rows(self) -> int:
        """Rows that are read."""
        return sum(int((r.stops - r.starts).sum()) for r in self.requests)

    def widen_whole(self, n: int) -> list[Callable[[], None]]:
        """Return functions that widen all elements, those that were not read too."""
        count = len(self.wide)
        edges = [count * i // n for i in range(n + 1)]
        return [
            partial(_widen, self.wide[a:b], self.narrow[a:b])
            for a, b in pairwise(edges)
            if a < b
        ]

    def widen_ranges(self) -> None:
        """Widen the elements that were read."""
        with np.errstate(invalid="ignore"):
            for request in self.requests:
                counts = request.stops - request.starts
                for which, at, n in zip(
                    request.which.tolist(),
                    request.offsets.tolist(),
                    counts.tolist(),
                    strict=True,
                ):
                    some = slice(at, at + n)
                    convert(self.narrow[which][some], self.wide[which][some])


def _widen(wide: Targets, narrow: Targets) -> None:
    with np.errstate(invalid="ignore"):  # what was not read may be anything
        for target, buffer in zip(wide, narrow, strict=True):
            convert(buffer, target)


def _like(
    targets: Targets, dtype: np.dtype[Any], context: ReadContext
) -> list[npt.NDArray[Any]]:
    """Return one buffer cut into arrays of the shapes of `targets`."""
    sizes = [target.size for target in targets]
    buffer = context.empty(sum(sizes), dtype)
    ends = np.cumsum(sizes).tolist()
    return [
        buffer[end - size : end].reshape(target.shape)
        for end, size, target in zip(ends, sizes, targets, strict=True)
    ]
