"""Reads what caches keep of encoded arrays, as uncompressed data are read.

The kept elements of an array lie in one piece, in a narrower type. They are read into
buffers that are laid out as the targets are, and widened from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout, ChunkCache, FoundChunks
from .kept_reads import read_kept_ranges
from .requests import Pieces, Ranges, Request, cut_at_chunks, merge_requests
from .widening import Widening, count_shares, run_shares

__all__ = ["read_cached"]

Integers = npt.NDArray[np.int64]
Targets = Sequence[npt.NDArray[Any]]


class _Kept(NamedTuple):
    """A part of a request that a cache keeps in one type.

    Parameters
    ----------
    request
        The whole request.
    found, kind
        What the cache has of the request, and the type.
    chunks
        The chunks, of the request's array.
    start, n, which, offset
        First row and number of rows of each range; the number of its target, and its
        first row there.
    n_rows
        Rows of all ranges.
    """

    request: Request
    found: FoundChunks
    kind: int
    chunks: Integers
    start: Integers
    n: Integers
    which: Integers
    offset: Integers
    n_rows: int

    @property
    def cache(self) -> ChunkCache:
        """The cache."""
        return _cache_of(self.request)

    @property
    def layout(self) -> ArrayLayout:
        """The array of all elements that the cache keeps in the type."""
        return self.found.layouts[self.kind]

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return prod(self.layout.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of a kept row."""
        return self.row_size * self.layout.dtype.itemsize

    @property
    def n_chunks(self) -> int:
        """How many chunks there are, those that follow one another once."""
        return 1 + int(np.count_nonzero(self.chunks[1:] != self.chunks[:-1]))

    def is_sound(self, context: ReadContext) -> bool:
        """Return whether what was read was not changed since it was checked."""
        array = self.request.array
        return self.cache.confirm(array, self.chunks, self.kind, self.found, context)


def _cache_of(request: Request) -> ChunkCache:
    """Return the cache of a request's array, which has one."""
    cache = request.array.chunk_cache
    assert cache is not None
    return cache


def read_cached(requests: Sequence[Request], context: ReadContext) -> Sequence[Request]:
    """Read what caches keep of requests; return requests for the rest.

    Parameters
    ----------
    requests
        Requests; those of arrays without a cache are returned as they are. Targets may
        hold anything until all that is returned has been read too.
    context
        Threads, byte sources, buffers and counters.

    Raises
    ------
    ValueError
        If the parts of a request do not fit each other, or are out of bounds.
    """
    asked: list[Request] = []
    rest: list[Request] = []
    for request in requests:
        (asked if _can_be_kept(request) else rest).append(request)
    if not asked:
        return requests
    ranges = merge_requests(asked, converts=True)
    kept, others = _find_kept(ranges, context)
    if not kept:
        return rest + others
    try:
        n_bytes = _read(kept, context)
    except Exception as error:  # whatever is wrong with the cache, the source is there
        for cache in {id(part.cache): part.cache for part in kept}.values():
            cache.fail(error)
        return requests
    if not all(part.is_sound(context) for part in kept):
        return requests
    n_chunks = sum(part.n_chunks for part in kept)
    context.stats.add(chunks_cached=n_chunks, bytes_used=n_bytes)
    return rest + others


def _can_be_kept(request: Request) -> bool:
    """Return whether whole rows are wanted, of chunks that hold whole rows."""
    array = request.array
    return (
        array.chunk_cache is not None
        and request.columns is None
        and array.needed_grid.chunk_shape[1:] == array.shape[1:]
    )


def _find_kept(
    ranges: Ranges, context: ReadContext
) -> tuple[list[_Kept], list[Request]]:
    """Return what is kept of ranges, and requests for the rest."""
    requests = ranges.requests
    rows = [request.array.needed_grid.chunk_shape[0] for request in requests]
    pieces = cut_at_chunks(
        ranges.starts, ranges.stops, ranges.offset, np.array(rows, np.int64)[ranges.of]
    )
    # As many pieces as ranges tell nothing: empty ranges have none, others several.
    edges = np.searchsorted(pieces.range, ranges.bounds).tolist()
    kept: list[_Kept] = []
    others: list[Request] = []
    for number, request in enumerate(requests):
        chunks = pieces.chunk[edges[number] : edges[number + 1]]
        found = _cache_of(request).find_kept(request.array, chunks, context)
        present = _list_kinds(found.kinds)
        if present == [0]:
            others.append(replace(request, is_uncached=True))
            continue
        if len(present) == 1:
            here = slice(ranges.bounds[number], ranges.bounds[number + 1])
            starts = ranges.starts[here]
            n = ranges.stops[here] - starts
            columns = starts, n, request.which, ranges.offset[here]
            n_rows = int(n.sum())
            kept.append(_Kept(request, found, present[0], chunks, *columns, n_rows))
            continue
        for kind in present:
            which = np.flatnonzero(found.kinds == kind)
            mine = Pieces(*(column[which + edges[number]] for column in pieces))
            if kind:
                starts = mine.chunk * rows[number] + mine.first
                target = request.which[mine.range - ranges.bounds[number]]
                columns = starts, mine.n, target, mine.offset
                n_rows = int(mine.n.sum())
                kept.append(_Kept(request, found, kind, mine.chunk, *columns, n_rows))
            else:
                some = _pick(request, mine, ranges.bounds[number], rows[number])
                others.append(replace(some, is_uncached=True))
    return kept, others


def _list_kinds(kinds: npt.NDArray[np.uint8]) -> list[int]:
    """Return the kinds that occur."""
    if not len(kinds):
        return [0]
    if (kinds == kinds[0]).all():
        return [int(kinds[0])]
    return np.flatnonzero(np.bincount(kinds)).tolist()


def _pick(request: Request, pieces: Pieces, bound: int, rows: int) -> Request:
    """Return the request for some of its pieces, in the order of their rows.

    `bound` is the number of its first range among all, and `rows` those of a chunk.
    """
    first = pieces.chunk * rows + pieces.first
    order = np.argsort(first, kind="stable")
    first = first[order]
    return replace(
        request,
        starts=first,
        stops=first + pieces.n[order],
        which=request.which[pieces.range[order] - bound],
        offsets=pieces.offset[order],
    )


def _read(kept: Sequence[_Kept], context: ReadContext) -> int:
    """Read and widen kept parts; return the bytes in their targets."""
    groups: dict[Any, _Group] = {}
    addresses = []
    n_bytes = 0
    for part in kept:
        targets, dtype = part.request.targets, part.layout.dtype
        key = tuple(map(id, targets)), dtype
        if key not in groups:
            groups[key] = _Group(Widening(targets, dtype, context), [])
        group = groups[key]
        group.parts.append(part)
        places = group.widening.addresses[part.which]
        addresses.append(places + part.offset * part.row_bytes)
        n_bytes += part.n_rows * part.row_size * part.request.array.dtype.itemsize
    memory = [array for group in groups.values() for array in group.widening.memory]
    of = np.repeat(np.arange(len(kept)), [len(part.start) for part in kept])
    size = np.array([part.row_bytes for part in kept], np.int64)[of]
    read_kept_ranges(
        [part.layout for part in kept],
        of,
        np.concatenate([part.start for part in kept]) * size,
        np.concatenate([part.n for part in kept]) * size,
        np.concatenate(addresses),
        memory,
        context,
    )
    # Of several types for the same targets, the one with most elements goes first, to
    # all of them: what it puts in the places of others is overwritten.
    whole: list[Callable[[], None]] = []
    by_range: list[Callable[[], None]] = []
    seen = {key[0] for key, group in groups.items() if group.widening.is_direct}
    n_shares = count_shares(n_bytes, context)
    for key, group in sorted(groups.items(), key=lambda item: -item[1].n_rows):
        if group.widening.is_direct:
            continue
        if key[0] not in seen and 2 * group.n_rows >= group.n_target_rows:
            whole += group.widening.share(n_shares)
        else:
            by_range.append(group.widen_ranges)
        seen.add(key[0])
    run_shares(whole, n_shares, context)
    run_shares(by_range, n_shares, context)
    return n_bytes


@dataclass(eq=False)
class _Group:
    """Parts that are kept in one type and go to the same targets."""

    widening: Widening
    parts: list[_Kept]

    @property
    def n_rows(self) -> int:
        """Rows of all parts."""
        return sum(part.n_rows for part in self.parts)

    @property
    def n_target_rows(self) -> int:
        """Rows of all targets."""
        return sum(map(len, self.parts[0].request.targets))

    def widen_ranges(self) -> None:
        """Widen the elements that were read."""
        for part in self.parts:
            self.widening.widen_ranges(part.which, part.offset, part.n)
