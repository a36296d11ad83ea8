"""Finds what URLs, and stores and files of the user's own, stand for in `open`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ObjectMissingError, nearest
from ..storage.cache import Cache
from ..storage.remote.globs import find_matches, has_magic
from ..storage.remote.object_store import ObjectStore, OwnFile, OwnStore, Root, UrlRoot
from ..storage.remote.own_stores import (
    is_file_object,
    is_fsspec_file,
    is_store,
    name_of_file,
    name_of_store,
)
from ..storage.remote.urls import ParsedUrl, is_url, parse_url
from .paths import paths_of

__all__ = ["RemoteData", "find_remote", "is_remote", "missing_object", "store_of_urls"]


class RemoteData(NamedTuple):
    """What is to be opened: paths and names, and the store of the names.

    Parameters
    ----------
    paths
        Local paths, and names of objects, in the order given.
    store
        Opens the names.
    """

    paths: list[str]
    store: ObjectStore


def is_remote(data: object) -> bool:
    """Return whether data is a URL, or a store or file object, or has one in a list."""
    if isinstance(data, list | tuple) and not _is_pair(data):
        return any(is_remote(one) for one in data)
    if isinstance(data, str):
        return is_url(data)
    return _is_pair(data) or _is_own_file(data)


def _is_pair(data: object) -> bool:
    """Return whether data is a store and what to open in it."""
    return isinstance(data, tuple) and len(data) == 2 and is_store(data[0])


def _is_own_file(data: object) -> bool:
    """Return whether data is a file object that is not simply a local file."""
    if isinstance(data, str | os.PathLike) or not is_file_object(data):
        return False
    name = getattr(data, "name", None)
    return is_fsspec_file(data) or not (isinstance(name, str) and os.path.exists(name))  # noqa: PTH110


def find_remote(
    data: Any,
    storage_options: Mapping[str, Any] | None,
    cache: Cache | None = None,
) -> RemoteData:  # Any: what is_remote accepts
    """Return the paths and names that data stands for, and the store of the names.

    Parameters
    ----------
    data
        URLs, stores and file objects.
    storage_options
        Keyword arguments of obstore's store class, for URLs.
    cache
        Where descriptions of objects are kept.

    Raises
    ------
    ValueError
        If a URL or an option is wrong.
    ObjectMissingError
        If a glob matches nothing.
    StoreError
        If a store gives no answer.
    """
    options = dict(storage_options or {})
    found = _Finder(options)
    several = isinstance(data, list | tuple) and not _is_pair(data)
    for one in data if several else [data]:
        found.add(one)
    if options and not found.has_urls:
        raise ValueError(
            "storage_options go with URLs; a store of your own has its options already"
        )
    store = ObjectStore(found.roots, cache)
    return RemoteData([path for look in found.wanted for path in look(store)], store)


def store_of_urls(
    names: Iterable[str],
    storage_options: Mapping[str, Any] | None,
    cache: Cache | None = None,
) -> ObjectStore | None:
    """Return the store of the names that are URLs, None if none is; nothing is asked.

    Parameters
    ----------
    names
        Paths and URLs; none is a glob.
    storage_options, cache
        As for :func:`find_remote`.

    Raises
    ------
    ValueError
        If there are options and no URL.
    """
    options = dict(storage_options or {})
    roots: dict[str, Root] = {}
    for name in names:
        if is_url(name):
            parsed = parse_url(name)
            roots.setdefault(parsed.root, UrlRoot(parsed, options))
    if options and not roots:
        raise ValueError(
            "storage_options go with URLs (s3://, gs://, az://, https://, http://), and"
            " none of the files is one; leave them out"
        )
    return ObjectStore(roots, cache) if roots else None


class _Finder:
    """Collects the roots of a store, and what is wanted in them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.roots: dict[str, Root] = {}
        self.wanted: list[Any] = []  # functions of a store that return names
        self.has_urls = False

    def add(self, one: Any) -> None:  # Any: see is_remote
        """Add a path, a URL, a pair of store and path, or a file object."""
        if _is_pair(one):
            self._add_pair(*one)
        elif isinstance(one, str) and is_url(one):
            self._add_url(one)
        elif _is_own_file(one):
            self._add_file(one)
        else:
            paths = paths_of([one])
            assert paths is not None
            self.wanted.append(lambda store: paths)

    def _add_url(self, url: str) -> None:
        self.has_urls = True
        parsed = parse_url(url)
        root = self._name_root(parsed)
        self.roots.setdefault(root, UrlRoot(parsed, self._options))
        if parsed.is_http:
            self.wanted.append(lambda store: [root])
        else:
            self._add_names(root, parsed.key)

    def _name_root(self, parsed: ParsedUrl) -> str:
        """Return the name of a root; two URLs that differ in secrets get two."""
        if parsed.is_http and has_magic(parsed.root.replace("[", "")):
            raise ValueError(
                f"{parsed.root}: HTTP has no listing, so that a glob cannot be matched;"
                " name the files: open([url, url, ...])"
            )
        name, n = parsed.root, 1
        while (known := self.roots.get(name)) is not None:
            if isinstance(known, UrlRoot) and known.parsed.bucket == parsed.bucket:
                return name
            n += 1
            name = f"{parsed.root} ({n})"
        return name

    def _add_names(self, root: str, pattern: str) -> None:
        if not has_magic(pattern):
            self.wanted.append(lambda store: [f"{root}/{pattern}" if pattern else root])
            return

        def match(store: ObjectStore) -> Sequence[str]:
            names = find_matches(store, root, pattern)
            if not names:
                raise ObjectMissingError(f"no object matches {root}/{pattern}")
            return names

        self.wanted.append(match)

    def _add_pair(self, store: Any, paths: Any) -> None:
        """Add paths in a user's store. Any: a store, and a path or a list of them."""
        root = self._add_root(name_of_store(store), OwnStore, store)
        several = paths if isinstance(paths, list | tuple) else [paths]
        if not several:
            raise ValueError(f"open((store, [])) got no paths in the store {root}")
        for path in several:
            text = os.fspath(path) if isinstance(path, os.PathLike) else path
            if not isinstance(text, str):
                raise TypeError(f"a path in a store must be text, got {path!r}")
            self._add_names(root, text.strip("/"))

    def _add_file(self, file: Any) -> None:  # Any: a file object
        root = self._add_root(name_of_file(file), OwnFile, file)
        self.wanted.append(lambda store: [root])

    def _add_root(self, name: str, kind: Any, obj: Any) -> str:
        """Add a root of the user's own under a name that no other has."""
        free, n = name, 1
        while (known := self.roots.get(free)) is not None:
            if obj in (getattr(known, "store", None), getattr(known, "file", None)):
                return free
            n += 1
            free = f"{name}/({n})" if name.endswith(":/") else f"{name} ({n})"
        self.roots[free] = kind(obj, free)
        return free


def missing_object(name: str, store: ObjectStore) -> ObjectMissingError:
    """Return the error for an object that is not there, with the nearest name."""
    hint = ""
    folder, _, own = name.rpartition("/")
    if store.lists(name) and store.holds(folder):
        try:
            folders, objects = store.list_folder(folder)
        except OSError:  # it may not be listed
            return ObjectMissingError(f"{name}: there is no such object; check the URL")
        if name in folders:
            return ObjectMissingError(
                f"{name}: this is a folder of objects, and no zarr store; open the"
                f" files in it together: open({store.opened_by(name + '/*.h5ad')})"
            )
        beside = [one.rpartition("/")[2] for one in [*folders, *objects]]
        hint = f"; {nearest(own, beside)}" if beside else "; its folder is empty"
    return ObjectMissingError(f"{name}: there is no such object{hint}")
