"""Finds the paths that an argument of :func:`scdataset_core.open` stands for."""

import glob
import os
import re
from collections.abc import Sequence
from numbers import Number
from pathlib import Path

from ..errors import nearest
from ..storage.io.open_files import check_plain
from .base import Source

__all__ = ["paths_of"]

_SCHEME = re.compile("((?:s3|gs|az|https?):)/[^/]")


def paths_of(data: object) -> list[str] | None:
    """Return the paths that `data` stands for: a path, a glob, or a list of these.

    The paths are absolute, so that they hold in any current directory and process. The
    result is None if `data` is none of these.

    Raises
    ------
    FileNotFoundError
        If a path is not there, or a glob matches nothing.
    FileFormatError
        If a path is neither a file nor a folder.
    """
    if isinstance(data, str | bytes | os.PathLike):
        text = os.fspath(data)
        if not isinstance(text, str):
            raise TypeError(f"a path must be text, got {text!r}")
        return _matches(text)
    if isinstance(data, list | tuple):
        if not data:
            raise ValueError("an empty list of paths: there is nothing to open")
        if all(isinstance(path, str | os.PathLike) for path in data):
            return [path for one in data for path in _matches(os.fspath(one))]
        if not all(isinstance(one, Number | list | tuple) for one in data):
            raise TypeError(_several(data))
    kind = getattr(getattr(data, "dtype", None), "kind", "")
    if kind in ("U", "T") and getattr(data, "ndim", 0) == 1:
        raise TypeError(
            f"got a {type(data).__name__} of text: give a list of paths, data.tolist()"
        )
    return None


def _several(data: Sequence[object]) -> str:
    """Return the advice for a list of other things than paths."""
    if all(isinstance(one, Source) for one in data):
        return "got a list of sources, which scdataset_core.concat(sources) joins"
    kinds = dict.fromkeys(type(one).__name__ for one in data)
    return (
        f"got a list of {', '.join(kinds)}: open() takes a list of paths, or one"
        " object; objects are opened one by one and joined,"
        " scdataset_core.concat([scdataset_core.open(one, obs=[...]) for one in data])"
    )


def _matches(text: str) -> list[str]:
    """Return the path that `text` is, or those that it matches as a glob, sorted."""
    if Path(text).exists() or not glob.has_magic(text):
        return [_existing(text)]
    found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207  # absolute ones too
    if not found:
        raise FileNotFoundError(f"no file matches {text}")
    return [_absolute(path) for path in found]


def _existing(path: str) -> str:
    if not Path(path).exists():
        if "://" in path:
            raise FileNotFoundError(
                f"{path}: a path is of local files; open what lies elsewhere with its"
                " own library, and give the object: scd.open(tiledbsoma.open(uri)),"
                " scd.open(zarr.open_group(uri))"
            )
        if scheme := _SCHEME.match(path):
            raise FileNotFoundError(
                f"{path}: pathlib has made a path of a URL; give the URL as text,"
                f" {scheme[1] + '//...'!r}"
            )
        if path.startswith("~"):
            raise FileNotFoundError(
                f"{path}: only shells take ~ for the home folder; give"
                f" {str(Path(path).expanduser())!r}"
            )
        folder = Path(path).parent
        beside = [other.name for other in folder.iterdir()] if folder.is_dir() else []
        hint = f"; {nearest(Path(path).name, beside)}" if beside else ""
        raise FileNotFoundError(f"{path}: there is no such file{hint}")
    return _absolute(path)


def _absolute(path: str) -> str:
    check_plain(path)
    return str(Path(path).absolute())
