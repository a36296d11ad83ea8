"""Reads what caches keep of encoded arrays, as uncompressed data are read.

The kept elements of an array lie in one piece, in a narrower type. They are read into
buffers that are laid out as the targets are, and widened from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
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
    kept: list[_Kept] = []
    rest: list[Request] = []
    n_chunks = 0
    for request in requests:
        cache = request.array.chunk_cache
        if cache is None or not _can_be_kept(request):
            rest.append(request)
            continue
        parts, others, n_found = _split(request, cache, context)
        kept += parts
        rest += others
        n_chunks += n_found
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
    """Return whether whole rows are wanted, of chunks that hold whole rows.

    Ranges that are out of bounds are left to those who raise the error.
    """
    array = request.array
    return bool(
        request.columns is None
        and array.needed_grid.chunk_shape[1:] == array.shape[1:]
        and request.starts.min() >= 0
        and request.stops.max() <= len(array)
    )


def _split(
    request: Request, cache: ChunkCache, context: ReadContext
) -> tuple[list[_Kept], list[Request], int]:
    """Return the parts that are kept, by type; what is not; and the chunks found."""
    array, starts = request.array, request.starts
    rows = np.full(len(starts), array.needed_grid.chunk_shape[0])
    pieces = cut_at_chunks(starts, request.stops, request.offsets, rows)
    kinds, layouts = cache.find_kept(array, pieces.chunk, context)
    parts: list[_Kept] = []
    rest: list[Request] = []
    present = [int(kinds[0])] if len(kinds) else [0]
    if (kinds != present[0]).any():
        present = np.flatnonzero(np.bincount(kinds)).tolist()
    for kind in present:
        some = request
        if len(present) > 1:
            some = _pick(request, pieces, np.flatnonzero(kinds == kind), int(rows[0]))
        if kind:
            mine = pieces.chunk if len(present) == 1 else pieces.chunk[kinds == kind]
            parts.append(_Kept(some, cache, kind, layouts[kind], mine))
        else:
            rest.append(replace(some, is_uncached=True))
    if not parts:
        return parts, rest, 0
    found = pieces.chunk if present[0] else pieces.chunk[kinds > 0]
    n_found = 1 + int(np.count_nonzero(found[1:] != found[:-1]))
    return parts, rest, n_found


def _pick(request: Request, pieces: Pieces, mine: Integers, rows: int) -> Request:
    """Return the request for some pieces, in the order of their rows."""
    first = pieces.chunk[mine] * rows + pieces.first[mine]
    order = np.argsort(first, kind="stable")
    mine, first = mine[order], first[order]
    return replace(
        request,
        starts=first,
        stops=first + pieces.n[mine],
        which=request.which[pieces.range[mine]],
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
