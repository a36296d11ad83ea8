"""Does requests: reads every range of every array into its target."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..formats.declared_sizes import check_text
from ..layout import ArrayLayout
from .byte_ranges import find_runs
from .cached_reads import read_cached
from .column_reads import column_tasks
from .conversion import can_convert, convert
from .converted import plan_reads
from .encoded import encoded_tasks
from .merged_reads import tasks_of
from .requests import Ranges, Request, merge_requests
from .staging import Staging

__all__ = ["check_lengths", "read_requests"]

Rows = npt.NDArray[np.int64]

# To read this much in the order of its places, and then convert it, costs less than to
# plan its way through scratch memory.
STAGED_BYTES = 4 << 20


def read_requests(requests: Sequence[Request], context: ReadContext) -> None:
    """Read every range of every request into its target.

    Each call decodes a chunk once at most. So all that is wanted at one time belongs
    in one call, the data and the indices of sparse rows too.

    Parameters
    ----------
    requests
        The ranges that are wanted, and their targets.
    context
        The threads, files, buffers and counters to use.

    Raises
    ------
    ValueError
        If the parts of a request do not fit each other, or are out of bounds.
    CorruptFileError
        If chunks are damaged, missing or not what the file says they are; the message
        names file, data set and chunk. The targets then hold nothing useful.
    FileChangedError
        If a file is not what it was when its array was made.
    OSError
        If the system cannot read a file.
    """
    asked = [request for request in requests if len(request.starts)]
    if any(request.array.chunk_cache is not None for request in asked):
        asked = list(read_cached(asked, context))
    if not asked:
        return
    asked, staging = _stage_small(asked, context)
    # Checked all together, then done by kind; a call rarely has more than one kind.
    by_kind = {
        kind: merge_requests(
            [request for request in asked if _kind(request) == kind], converts=True
        )
        for kind in dict.fromkeys(map(_kind, asked))
    }
    tasks: list[Callable[[], None]] = []
    finish: list[Callable[[], None]] = []
    if "plain" in by_kind:
        reads, finish = plan_reads(by_kind["plain"], context)
        tasks += tasks_of(reads)
    if "columns" in by_kind:
        tasks += column_tasks(by_kind["columns"], context)
    if "encoded" in by_kind:
        tasks += encoded_tasks(by_kind["encoded"], context)
    if "library" in by_kind:
        ranges = by_kind["library"]
        for request in ranges.requests:
            check_lengths(request.array, request.starts, request.stops, context)
        tasks += [
            partial(_through_library, ranges, number)
            for number in range(len(ranges.requests))
        ]
    context.run(tasks)
    for step in [*finish, *([staging.finish] if staging else [])]:
        step()
    context.stats.add(bytes_used=sum(request.n_bytes for request in by_kind.values()))


def check_lengths(
    array: ArrayLayout, starts: Rows, stops: Rows, context: ReadContext
) -> None:
    """Raise if texts claim to be longer than their file, before HDF5 believes it.

    Parameters
    ----------
    array
        Text, or an array of anything else, which is not looked at.
    starts, stops
        The ranges of it that are to be read.
    context
        The threads, files, buffers and counters to use.

    Raises
    ------
    ImpossibleTextError
        If one does.
    """
    references = array.references
    sizes = stops - starts
    if references is None or not sizes.sum():
        return
    from ..formats.hdf5_heaps import REFERENCE  # so that no format loads the others

    found = np.empty(int(sizes.sum()), references.dtype)
    first = np.zeros(len(starts), np.int64)
    places = np.cumsum(sizes, dtype=np.int64) - sizes
    read_requests([Request(references, starts, stops, [found], first, places)], context)
    known = references.table.identities[0]
    assert known is not None  # it is a file that was looked at
    check_text(
        f"{array.file}: data set {array.name}",
        longest=int(found.view(REFERENCE)["length"].max()),
        file_bytes=known.n_bytes,
    )


def _stage_small(
    asked: list[Request], context: ReadContext
) -> tuple[list[Request], Staging | None]:
    """Return requests to do; those that convert few numbers go to buffers first."""
    some = [request for request in asked if request.converts and _can_stage(request)]
    if not some:
        return asked, None
    n_bytes = sum(
        int((request.stops - request.starts).sum()) * request.array.dtype.itemsize
        for request in some
    )
    if n_bytes > STAGED_BYTES:
        return asked, None
    staging = Staging(context)
    return [staging.redirect(r) if r in some else r for r in asked], staging


def _can_stage(request: Request) -> bool:
    """Return whether a request that converts is for uncompressed numbers."""
    array = request.array
    return (
        array.is_plain
        and len(array.shape) == 1
        and can_convert(array.dtype, request.targets[0].dtype)
    )


def _kind(request: Request) -> str:
    """Return the way a request is done."""
    grid = request.array.grid
    if grid is None:
        return "library"
    if grid.pipeline:
        return "encoded"
    return "plain" if request.columns is None else "columns"


def _through_library(ranges: Ranges, number: int) -> None:
    """Do a request through the format's library, one call a run of touching ranges."""
    request = ranges.requests[number]
    library = request.array.library
    assert library is not None
    here = slice(ranges.bounds[number], ranges.bounds[number + 1])
    starts, stops = ranges.starts[here], ranges.stops[here]
    new = find_runs(starts, stops, overlap=True)
    for first, last in pairwise([*new.tolist(), len(starts)]):
        low, high = int(starts[first]), int(stops[first:last].max())
        rows = library(low, high)
        if request.columns is not None:
            rows = rows[:, request.columns]
        for i in range(first, last):
            piece = rows[int(starts[i]) - low : int(stops[i]) - low]
            at = int(request.offsets[i])
            target = request.targets[int(request.which[i])][at : at + len(piece)]
            if request.converts:
                convert(piece, target)
            else:
                target[...] = piece
