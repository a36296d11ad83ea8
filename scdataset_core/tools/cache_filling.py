"""Fills a cache with all chunks of some files, here or in a cluster."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import ScdatasetError
from ..storage.cache import Cache
from .arguments import InputFile, StorageOptions, need_files
from .cluster import Outcome, names_cluster, run_on_cluster

__all__ = ["fill_cache"]


def fill_cache(
    data: Any,
    cache: Any,
    *,
    x: str = "X",
    storage_options: StorageOptions = None,
    threads: int | None = None,
    progress: Callable[[str, Any, int], object] | None = None,
    ray: str | bool | None = None,
) -> dict[str, Any]:
    """Decode every chunk of some files once, and keep it in a cache.

    Parameters
    ----------
    data
        A path, a glob, a URL, or a list of these.
    cache
        A folder, or a :class:`scdataset_core.Cache` with a limit. In a cluster all
        machines must have the folder, and the files, under the same paths.
    x
        The matrix: ``"X"``, ``"raw/X"``, ``"layers/NAME"`` or ``"obsm/NAME"``.
    storage_options
        For URLs, as `open` takes them.
    threads
        Threads that decode; None: one a core, at most 8. In a cluster: those for each
        file, 1 by default.
    progress
        Called now and then with a file's name, the bytes of it that are done, and those
        it has. In a cluster: with ``"files"``, how many files are done, parts of them
        counted, and how many there are.
    ray
        Address of a Ray cluster that decodes the files, each in a task of its own, see
        :func:`verify`.

    Returns
    -------
    report
        Plain data: ``ok``, whether all of every file is kept; ``nbytes``, what the
        cache takes; ``seconds``; ``files``, a list of ``{"file", "share", "compressed",
        "seconds"}``; and ``failed``, a list of ``{"file", "error"}``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path.
    ModuleNotFoundError
        If there is to be a cluster, and Ray is not installed.
    """
    inputs = need_files("fill_cache", data, storage_options)
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    begun = time.perf_counter()
    if names_cluster(ray):
        outcomes = run_on_cluster(
            partial(_fill_in_cluster, cache=cache, x=x, threads=threads or 1),
            [(file.name, file.given, file.storage_options) for file in inputs],
            ray,
            threads=threads,
            progress=progress,
        )
    else:
        outcomes = [_try(file, cache, x, threads, progress) for file in inputs]
    files = [outcome.result for outcome in outcomes if outcome.error is None]
    failed = [
        {"file": file.name, "error": outcome.error}
        for file, outcome in zip(inputs, outcomes, strict=True)
        if outcome.error is not None
    ]
    lacking = [file for file in files if file["compressed"] and file["share"] < 1]
    return {
        "ok": not failed and not lacking,
        "nbytes": cache.nbytes,
        "seconds": time.perf_counter() - begun,
        "files": files,
        "failed": failed,
    }


def _try(
    file: InputFile,
    cache: Cache,
    x: str,
    threads: int | None,
    progress: Callable[[str, int, int], object] | None,
) -> Outcome:
    """Return what became of one file, which is read here."""
    tell = None if progress is None else partial(progress, file.name)
    try:
        return Outcome(_fill(file, cache, x, threads, tell))
    except (ScdatasetError, OSError, ValueError) as error:
        return Outcome(error=str(error))


def _fill_in_cluster(
    item: tuple[str, str, StorageOptions],
    tell: Callable[[float], None],
    *,
    cache: Cache,
    x: str,
    threads: int,
) -> dict[str, Any]:
    """Return what became of one file; a worker of a cluster runs this."""
    name, given, storage_options = item
    file = InputFile(name, given, storage_options=storage_options)

    def progress(done: int, total: int) -> None:
        tell(done / max(total, 1))

    return _fill(file, cache, x, threads, progress)


def _fill(
    file: InputFile,
    cache: Cache,
    x: str,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
) -> dict[str, Any]:
    begun = time.perf_counter()
    source = file.open(x=x, cache=cache)
    share = source.fill_cache(progress, threads)
    return {
        "file": file.name,
        "share": share,
        "compressed": len(source.cacheable_arrays()) > 0,
        "seconds": time.perf_counter() - begun,
    }
