"""Doing requests: every range of every array, each to its place."""

from collections.abc import Callable, Sequence
from functools import partial

from .columns import column_tasks
from .context import ReadContext
from .direct import Reads, plan_direct
from .groups import read_tasks
from .layout import ArrayLayout
from .packed import MOST_CHUNKS, Packed
from .placing import placer_of
from .requests import Request

__all__ = ["scatter"]

TASKS_PER_THREAD = 6
# Reading this much is over before another thread has woken up.
INLINE_BYTES = 4 << 20


def scatter(requests: Sequence[Request], context: ReadContext) -> None:
    """Read every range of every request into its place.

    Each chunk that must be decoded is decoded once a call, so what is wanted at one
    time belongs in one call, data and indices of sparse rows too.

    Parameters
    ----------
    requests
        What is wanted.
    context
        Threads, files, buffers and counters to do it with.

    Raises
    ------
    CorruptFileError
        If chunks are damaged, missing or not what the file says they are; the message
        names file, data set and chunk. The targets then hold nothing useful.
    FileChangedError
        If a file is not what it was when its array was made.
    OSError
        If the system cannot read a file.
    """
    reads: list[Reads] = []
    packed: list[Packed] = []
    tasks: list[Callable[[], None]] = []
    after: list[Callable[[], None]] = []
    for request in requests:
        grid = request.array.grid
        if len(request.starts) == 0:
            continue
        if grid is None:
            tasks.append(partial(_through_library, request))
        elif grid.pipeline:
            packed.append(Packed(request.array, placer_of(request), context))
        elif request.columns is not None:
            tasks += column_tasks(request, context)
        else:
            part, finish = plan_direct(request)
            reads.append(part)
            if finish is not None:
                after.append(finish)
    _run(tasks, reads, packed, context)
    for finish in after:
        finish()


def _run(
    tasks: list[Callable[[], None]],
    reads: list[Reads],
    packed: list[Packed],
    context: ReadContext,
) -> None:
    """Do all that was planned, near each other what is near in the files."""
    n_bytes = sum(int(part.n_bytes.sum()) for part in reads)
    tasks = tasks + read_tasks(reads, context)
    n_chunks = sum(map(len, packed))
    if n_chunks:
        few = n_chunks // (TASKS_PER_THREAD * context.threads) + 1
        placed = [task for part in packed for task in part.tasks(min(few, MOST_CHUNKS))]
        tasks += [task for _, task in sorted(placed, key=lambda task: task[0])]
    if n_chunks == 0 and n_bytes <= INLINE_BYTES:
        for task in tasks:
            task()
    else:
        context.run(tasks)


def _through_library(request: Request) -> None:
    """Do a request through the format's library: run by run of touching ranges."""
    array: ArrayLayout = request.array
    assert array.library is not None
    start = stop = -1
    members: list[tuple[int, int, int, int]] = []

    def flush() -> None:
        if members:
            assert array.library is not None
            rows = array.library(start, stop)
            for low, high, which, offset in members:
                part = rows[low - start : high - start]
                if request.columns is not None:
                    part = part[:, request.columns]
                request.targets[which][offset : offset + high - low] = part

    for low, high, which, offset in zip(
        request.starts.tolist(),
        request.stops.tolist(),
        request.which.tolist(),
        request.offsets.tolist(),
        strict=True,
    ):
        if low == high:
            continue
        if not (members and start <= low <= stop):
            flush()
            members, start, stop = [], low, high
        members.append((low, high, which, offset))
        stop = max(stop, high)
    flush()
