"""What the arguments of several commands and tools have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import ObjectMissingError
from ..sources import Source
from ..sources import open as open_source
from ..sources.format_declaration import Format
from ..sources.formats import format_of, format_of_object
from ..sources.paths import paths_of
from ..sources.remote_data import find_remote, is_remote
from ..storage.remote.object_store import ObjectStore

__all__ = [
    "InputFile",
    "Joined",
    "StorageOptions",
    "expand_files",
    "find_files",
    "need_files",
    "open_labelled",
    "refuse_options",
]

# Keyword arguments of obstore's stores.
StorageOptions = Mapping[str, Any] | None


class Joined(StrEnum):
    """The values of `join` that `open` takes."""

    exact = "exact"
    inner = "inner"
    outer = "outer"


@dataclass(frozen=True)
class InputFile:
    """A file that a tool looks at: a local one, or an object in a store.

    Parameters
    ----------
    name
        Its path, or its URL without anything secret.
    given
        What `open` takes for it.
    store
        The store that it is in; None: it is a local file.
    storage_options
        How the store is reached.
    """

    name: str
    given: str
    store: ObjectStore | None = None
    storage_options: StorageOptions = None

    def open(self, **options: Any) -> Source:
        """Return it as a source of its own."""
        return open_source(self.given, storage_options=self.storage_options, **options)

    @property
    def base_name(self) -> str:
        """The last part of its name."""
        return self.name.rstrip("/").rpartition("/")[2]

    def count_bytes(self) -> int:
        """Return its size, or that of all files of a folder."""
        if self.store is not None:
            try:
                return self.store.identify(self.name).n_bytes
            except ObjectMissingError:
                if not self.store.lists(self.name):
                    return 0
                inside = self.store.list_objects(self.name)
                return sum(found.identity.n_bytes for found in inside)
        place = Path(self.name)
        if place.is_dir():
            files = (file for file in place.rglob("*") if file.is_file())
            return sum(file.stat().st_size for file in files)
        return place.stat().st_size

    def find_format(self, *, isolated: bool = False) -> Format:
        """Return its format, see :func:`~..sources.formats.format_of`."""
        if self.store is None:
            return format_of(self.name, isolated=isolated)
        return format_of_object(self.name, self.store)


def find_files(
    files: Iterable[str], storage_options: StorageOptions = None
) -> list[InputFile]:
    """Return what files, globs and URLs of a command line stand for."""
    return [
        file
        for given in files
        for file in _find_files(given, storage_options) or [InputFile(given, given)]
    ]


def expand_files(
    files: Iterable[str], storage_options: StorageOptions = None
) -> list[str]:
    """Return the paths and URLs that files of a command line stand for, for `open`."""
    return [file.given for file in find_files(files, storage_options)]


def need_files(
    tool: str, data: Any, storage_options: StorageOptions = None
) -> list[InputFile]:
    """Return the files that the data given to a tool stand for.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path and no URL.
    ValueError
        If there are storage options, and no URL.
    """
    # One by one, as a list may hold paths and URLs.
    several = [[one] for one in data] if isinstance(data, list | tuple) else [data]
    files: list[InputFile] = []
    for one in several or [data]:
        found = _find_files(one, storage_options)
        if found is None:
            raise TypeError(
                f"{tool} takes paths of files, URLs, a glob, or a list, got"
                f" {type(data).__name__}"
            )
        files += found
    if storage_options and all(file.store is None for file in files):
        raise ValueError(
            "storage_options go with URLs (s3://, gs://, az://, https://, http://), and"
            " no file is one; leave them out"
        )
    return files


def _find_files(data: Any, storage_options: StorageOptions) -> list[InputFile] | None:
    """Return the files that a path, glob or URL stands for; None if it is none."""
    one = data[0] if isinstance(data, list) and data else data
    if not (isinstance(one, str) and is_remote(one)):
        paths = paths_of(data)
        return None if paths is None else [InputFile(path, path) for path in paths]
    names, store = find_remote(one, storage_options)
    # The name of a URL of HTTP leaves out its query, which stands for no other file.
    given = [one] if one.startswith("http") else names
    return [
        InputFile(name, url, store, storage_options)
        for name, url in zip(names, given, strict=True)
    ]


def open_labelled(data: Any, label: Any, **options: Any) -> Source:
    """Return an open source as it is, or files opened with the column of a label.

    Parameters
    ----------
    data
        Files, as :func:`scdataset_core.open` takes them, or an open source.
    label
        Name of an obs column; None, or labels themselves: no column is needed.
    options
        As for `open`.
    """
    if isinstance(data, Source):
        refuse_options(data, **options)
        return data
    return open_source(data, obs=[label] if isinstance(label, str) else None, **options)


def refuse_options(
    source: Source,
    *,
    x: Any = "X",  # Any: one name, or several
    join: str = "exact",
    genes: Any = None,
    cache: Any = None,
    storage_options: StorageOptions = None,
) -> None:
    """Raise if options say how to open what is open already, and would be ignored.

    Raises
    ------
    ValueError
        If one is given, and is not what the source was opened with.
    """
    own = getattr(source, "x", "X")
    is_own = x == own or (not isinstance(x, str) and list(x) == list(source.parts))
    given = {
        "x": x != "X" and not is_own,
        "join": join != "exact",
        "genes": genes is not None,
        "cache": cache is not None and source.cache is None,
        "storage_options": bool(storage_options),
    }
    ignored = [f"{name}=" for name, is_given in given.items() if is_given]
    if ignored:
        raise ValueError(
            f"{' and '.join(ignored)} would be ignored: the source is open already;"
            " give this to scd.open, or give the files in place of the source"
        )
