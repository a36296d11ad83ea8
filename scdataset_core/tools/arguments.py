"""What the arguments of several commands and tools have in common."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from ..sources.paths import paths_of

__all__ = ["Joined", "expand_files", "need_paths"]


class Joined(StrEnum):
    """The values of `join` that `open` takes."""

    exact = "exact"
    inner = "inner"
    outer = "outer"


def expand_files(files: Iterable[str]) -> list[str]:
    """Return the paths that files and globs of a command line stand for."""
    return [path for given in files for path in paths_of(given) or [given]]


def need_paths(tool: str, data: Any) -> list[str]:
    """Return the paths that the data given to a tool stand for.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path.
    """
    paths = paths_of(data)
    if paths is None:
        raise TypeError(
            f"{tool} takes paths of files, a glob, or a list, got {type(data).__name__}"
        )
    return paths
