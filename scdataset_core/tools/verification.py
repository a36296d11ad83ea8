"""Verifies files: reads everything in them once, and names what is damaged."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ScdatasetError
from ..fetch_memory import RowMemory, find_batch_size
from ..loader import Loader
from ..sources import Source
from ..sources.formats import FileNode
from ..storage import ReadContext, StoredArray, default_context
from ..storage.chunks import ABSENT
from ..storage.isolation import call_isolated
from ..storage.reading.chunk_decoder import ChunkDecoder, WantedChunks
from ..storage.remote.object_store import ObjectStore
from ..strategies import Streaming
from .arguments import InputFile, StorageOptions, need_files
from .cluster import Outcome, names_cluster, run_on_cluster
from .fitting import (
    Group,
    Limits,
    check_elements,
    check_rising,
    describe_group,
    find_limits,
    find_misfits,
)

__all__ = ["verify"]

# A task reads about so much, and is done again chunk by chunk where something is wrong.
TASK_BYTES = 2 << 20
ROUND = 32
# Most rows that a Loader gives at a time, and most bytes that its fetches take.
READ_ROWS = 1024
READ_BYTES = 256 << 20
_ERRORS = (ScdatasetError, OSError, ValueError, RuntimeError, KeyError, TypeError)


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong.

    Parameters
    ----------
    file
        The file.
    dataset
        The array in it; None where the file as a whole is wrong.
    chunk
        Number of the chunk of that array; None where it is not known.
    error
        What is wrong, in words.
    """

    file: str
    dataset: str | None
    chunk: int | None
    error: str


@dataclass(frozen=True)
class _Array:
    """An array to be read, and what its elements must be, where that is known."""

    stored: StoredArray
    limits: Limits | None = None


def verify(
    data: Any,
    *,
    storage_options: StorageOptions = None,
    threads: int | None = None,
    progress: Callable[[str, Any, int], object] | None = None,
    ray: str | bool | None = None,
) -> dict[str, Any]:
    """Read everything in some files once, in parallel, and say what is damaged.

    Every chunk of every array of `.h5ad`, `.h5mu` and zarr is decoded, to its checksum
    where it has one. Column ids and row pointers of sparse matrices and codes of
    categories are checked, and that there is a row for each cell or gene. Of other
    formats, X and obs are read in file order up to the first error.

    Parameters
    ----------
    data
        A path, a glob, a URL, or a list of these.
    storage_options
        For URLs, as `open` takes them.
    threads
        Threads that read and decode; None: one a core, at most 8. In a cluster: those
        for each file, 1 by default.
    progress
        Called now and then with a file's name, the bytes of it that are done, and those
        it has. In a cluster: with ``"files"``, how many files are done, parts of them
        counted, and how many there are.
    ray
        Address of a Ray cluster that reads the files, each in a task of its own:
        ``"auto"`` for the one that runs here, ``"local"`` for a new one on this
        machine, or what else ``ray.init`` takes. True: the one that runs here, or a new
        one. The machines of the cluster must have the files under the same paths.

    Returns
    -------
    report
        Plain data: ``ok``; ``n_files``; ``n_chunks`` and ``n_bytes``, what was
        decoded; ``seconds``; ``damaged``, a list of ``{"file", "dataset", "chunk",
        "error"}``; and ``notices``, a list of ``{"file", "what"}``: what may be damage,
        such as files of a zarr store that are not there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path.
    ModuleNotFoundError
        If there is to be a cluster, and Ray is not installed.
    """
    files = need_files("verify", data, storage_options)
    begun = time.perf_counter()
    if names_cluster(ray):
        outcomes = run_on_cluster(
            partial(_verify_one, threads=threads or 1),
            [(file.given, file.storage_options) for file in files],
            ray,
            threads=threads,
            progress=progress,
        )
        names = [file.name for file in files]
        return _join_reports(names, outcomes, time.perf_counter() - begun)
    with ReadContext(threads) as context:
        check = _Check(context, progress)
        for file in files:
            check.file(file)
    return {
        "ok": not check.damaged,
        "n_files": len(files),
        "n_chunks": context.stats.chunks_decoded,
        "n_bytes": check.n_bytes,
        "seconds": time.perf_counter() - begun,
        "damaged": [asdict(damage) for damage in check.damaged],
        "notices": check.notices,
    }


def _verify_one(
    item: tuple[str, StorageOptions], tell: Callable[[float], None], *, threads: int
) -> dict[str, Any]:
    """Return the report of one file; a worker of a cluster runs this."""
    given, storage_options = item

    def progress(_: str, done: int, total: int) -> None:
        tell(done / max(total, 1))

    # In a list it is no glob.
    return verify(
        [given], storage_options=storage_options, threads=threads, progress=progress
    )


def _join_reports(
    names: Sequence[str], outcomes: Sequence[Outcome], seconds: float
) -> dict[str, Any]:
    """Return the report of all files, of which each has its own."""
    found = [outcome.result for outcome in outcomes if outcome.error is None]
    damaged = [
        damage
        for name, outcome in zip(names, outcomes, strict=True)
        for damage in (
            outcome.result["damaged"]
            if outcome.error is None
            else [asdict(Damage(name, None, None, outcome.error))]
        )
    ]
    return {
        "ok": not damaged,
        "n_files": len(names),
        "n_chunks": sum(report["n_chunks"] for report in found),
        "n_bytes": sum(report["n_bytes"] for report in found),
        "seconds": seconds,
        "damaged": damaged,
        "notices": [notice for report in found for notice in report["notices"]],
    }


class _Check:
    """Reads files, and collects what is wrong with them."""

    def __init__(
        self, context: ReadContext, progress: Callable[[str, int, int], object] | None
    ) -> None:
        self._context, self._progress = context, progress
        self.damaged: list[Damage] = []
        self.notices: list[dict[str, str]] = []
        self.n_bytes = 0

    def file(self, file: InputFile) -> None:
        """Read one file."""
        path, before = file.name, len(self.damaged)
        try:
            kind = file.find_format(isolated=True)
            arrays = None
            if kind.walk is not None:
                what = path, kind.walk, file.store
                arrays, damaged = (
                    call_isolated(_find_arrays, *what, file=path)
                    if kind.isolates and file.store is None
                    else _find_arrays(*what)
                )
                self.damaged += damaged
        except _ERRORS as error:
            self._note(path, None, None, error)
            return
        if arrays is not None:
            self._read_arrays(path, arrays)
            if len(self.damaged) == before:
                for array in arrays:
                    self._follow(path, array)
        # What is there may still not fit together.
        if len(self.damaged) == before:
            self._open(file, read=arrays is None)

    def _note(
        self, path: str, dataset: str | None, chunk: int | None, error: Exception
    ) -> None:
        self.damaged.append(Damage(path, dataset, chunk, str(error)))

    def _read_arrays(self, path: str, arrays: Sequence[_Array]) -> None:
        total = sum(array.stored.nbytes_stored for array in arrays)
        done = 0
        for array in arrays:
            tasks = self._tasks(path, array)
            n_bytes, of = 0, array.stored.nbytes_stored
            while some := list(islice(tasks, ROUND)):
                self._context.run([task for task, _ in some])
                n_bytes += sum(n for _, n in some)
                if self._progress is not None:
                    self._progress(path, done + min(n_bytes, of), total)
            done += of

    def _tasks(
        self, path: str, array: _Array
    ) -> Iterator[tuple[Callable[[], None], int]]:
        """Yield functions that read an array, and the bytes that each reads."""
        stored = array.stored
        if stored.grid is None or stored.is_plain or not stored.dtype.itemsize:
            yield from self._plain_tasks(path, array)
            return
        try:
            table = stored.table
        except _ERRORS as error:
            self._note(path, stored.name, None, error)
            return
        chunks = np.flatnonzero(table.offsets != ABSENT)
        step = max(TASK_BYTES // max(stored.grid.n_bytes, 1), 1)
        for first in range(0, len(chunks), step):
            some = chunks[first : first + step]
            task = partial(self._decode, path, array, some)
            yield task, int(table.sizes[some].sum())

    def _plain_tasks(
        self, path: str, array: _Array
    ) -> Iterator[tuple[Callable[[], None], int]]:
        stored = array.stored
        row = max(stored.dtype.itemsize, 8) * int(np.prod(stored.shape[1:]))
        step = max(TASK_BYTES // max(row, 1), 1)
        for start in range(0, len(stored), step):
            stop = min(start + step, len(stored))
            yield partial(self._read, path, array, start, stop), (stop - start) * row

    def _read(self, path: str, array: _Array, start: int, stop: int) -> None:
        """Read rows of an array that is not decoded here."""
        stored = array.stored
        try:
            rows = stored.read(start, stop, context=default_context())
            check_elements(rows, stored, array.limits, f"rows {start} to {stop}")
        except _ERRORS as error:
            self._note(path, stored.name, None, error)
        else:
            self.n_bytes += rows.nbytes

    def _decode(self, path: str, array: _Array, chunks: npt.NDArray[np.int64]) -> None:
        """Decode chunks; if something is wrong, one by one."""
        stored = array.stored
        n_bytes = np.full(len(chunks), stored.needed_grid.n_bytes)
        try:
            wanted = WantedChunks(chunks, n_bytes, np.zeros_like(n_bytes))
            decoder = ChunkDecoder(stored, wanted, self._context)
            if decoder.is_giant:
                for i in range(len(decoder)):
                    for _ in decoder.decode_pieces(i):
                        pass
            else:
                for i, plain in decoder.decode(0, len(decoder)):
                    values = _wanted_elements(stored, int(chunks[i]), plain)
                    where = f"chunk {chunks[i]}"
                    check_elements(values, stored, array.limits, where)
        except _ERRORS as error:
            if len(chunks) == 1:
                self._note(path, stored.name, int(chunks[0]), error)
                return
            for i in range(len(chunks)):
                self._decode(path, array, chunks[i : i + 1])
        else:
            self.n_bytes += int(n_bytes.sum())

    def _follow(self, path: str, array: _Array) -> None:
        """Check that row pointers begin at 0, never fall, and end where data do."""
        stored, limits = array.stored, array.limits
        if limits is None or not limits.is_rising:
            return
        try:
            check_rising(stored, limits)
        except _ERRORS as error:
            self._note(path, stored.name, None, error)

    def _open(self, file: InputFile, *, read: bool) -> None:
        """Open a file as a source, which checks that its parts fit; read it too."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                source = file.open(obs=True, isolated=file.store is None)
                if read:
                    done = 0
                    for batch in _make_loader(source):
                        done += len(batch["index"])
                        if self._progress is not None:
                            self._progress(file.name, done, len(source))
                elif source.sparse:
                    source.longest_row()  # looks at all row pointers
            except _ERRORS as error:
                self._note(file.name, None, None, error)
        self.notices += [
            {"file": file.name, "what": str(warning.message)}
            for warning in caught
            if warning.category is UserWarning  # not those of other libraries
        ]


def _make_loader(source: Source) -> Loader:
    """Return a Loader of all rows; one row is read whatever it takes."""
    row = RowMemory.of(source, source.stored_form)
    batch_size = find_batch_size(READ_BYTES, row, most=READ_ROWS)
    memory = max(READ_BYTES, ceil(row.total))
    return Loader(source, Streaming(), batch_size=batch_size, memory=memory)


def _find_arrays(
    path: str, walk: Callable[..., Iterator[FileNode]], store: ObjectStore | None
) -> tuple[list[_Array], list[Damage]]:
    """Return the arrays of a file, and those that are not there as they should be."""
    found: list[tuple[str, StoredArray]] = []
    damaged: list[Damage] = []
    groups: dict[str, Group] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in walk(path) if store is None else walk(path, store):
        try:
            if node.error is not None:
                raise node.error
            if node.describe is None:
                groups[node.path] = describe_group(node.node)
            elif node.node.shape:
                shapes[node.path] = tuple(node.node.shape)
                found.append((node.path, node.describe(node.node)))
        except _ERRORS as error:
            damaged.append(Damage(path, f"/{node.path}", None, str(error)))
    if not damaged:  # what cannot be looked at has no length
        damaged = [
            Damage(path, f"/{inside}", None, f"{path}: {wrong}")
            for inside, wrong in find_misfits(groups, shapes)
        ]
    limits = find_limits(groups, shapes)
    return [_Array(array, limits.get(inside)) for inside, array in found], damaged


def _wanted_elements(
    stored: StoredArray, chunk: int, plain: memoryview
) -> npt.NDArray[Any]:
    """Return the elements of a decoded chunk that belong to the array."""
    values = np.frombuffer(plain, stored.dtype)
    if stored.needed_grid.chunk_shape[1:] == stored.shape[1:] == ():
        first = chunk * stored.needed_grid.chunk_shape[0]
        values = values[: len(stored) - first]
    return values
