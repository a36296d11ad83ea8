"""What a cache holds, as plain data, and how it is cleared."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..sources.paths import paths_of
from ..storage.cache import Cache

__all__ = ["cache", "clear_cache", "open_cache"]


def cache(folder: Any) -> list[dict[str, Any]]:
    """Return what a cache holds.

    Parameters
    ----------
    folder
        Its folder, or a :class:`scdataset_core.Cache`.

    Returns
    -------
    entries
        Plain data, one for each array of which something is kept: ``file`` and
        ``array``, the ``nbytes`` on disk, ``n_chunks`` and how many of them are kept,
        ``n_kept``, their ``share``, when the file was last ``opened`` (seconds since
        1970), and whether a process has it ``in_use``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    entries = open_cache(folder).entries()
    return [asdict(entry) | {"share": entry.share} for entry in entries]


def clear_cache(
    folder: Any, files: "str | os.PathLike[str] | Iterable[Any] | None" = None
) -> dict[str, Any]:
    """Remove what a cache keeps: of some files, or all.

    Parameters
    ----------
    folder
        Its folder, or a :class:`scdataset_core.Cache`.
    files
        Paths, globs or URLs; None: all.

    Returns
    -------
    report
        Plain data: the bytes ``freed``, and the ``nbytes`` that are left.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    cleared = open_cache(folder)
    if isinstance(files, str | os.PathLike):
        files = [files]
    freed = cleared.clear(
        None if files is None else [path for given in files for path in _expand(given)]
    )
    return {"freed": freed, "nbytes": cleared.nbytes}


def open_cache(folder: Any) -> Cache:
    """Return the cache in a folder that is there; making one would be no answer."""
    if isinstance(folder, Cache):
        return folder
    if not Path(folder).expanduser().is_dir():
        raise FileNotFoundError(2, "there is no such cache", str(folder))
    return Cache(folder)


def _expand(given: Any) -> list[Any]:
    """Return the files that a path or glob names; a file may be gone already."""
    try:
        return paths_of(given) or [given]
    except FileNotFoundError:
        return [given]
