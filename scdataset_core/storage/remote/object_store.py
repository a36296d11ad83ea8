"""Object stores as byte stores: opened in the process that reads."""

import io
import os
import pickle
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import StoreError
from ..cache.folder import Cache
from ..io.identities import check_unchanged
from .block_reader import BlockReader
from .clients import ListedObject, ObjectClient, ObstoreClient, connect
from .identity import ObjectIdentity
from .kept_objects import KeptObject
from .object_source import ObjectSource
from .obstore_library import load_obstore
from .own_stores import FileClient
from .urls import ParsedUrl

__all__ = ["ObjectStore", "OwnFile", "OwnStore", "UrlRoot"]


@dataclass(frozen=True, eq=False, repr=False)
class UrlRoot:
    """A bucket, or a file of HTTP, that URLs name; its options are shown nowhere.

    Parameters
    ----------
    parsed
        A URL of it, with what may be secret.
    options
        Keyword arguments of obstore's store class.
    """

    parsed: ParsedUrl
    options: Mapping[str, Any]

    def is_named_by(self, name: str) -> bool:
        """Whether a name is all of it: nothing secret was left out."""
        full = self.parsed.bucket if self.parsed.is_http else self.parsed.root
        return name == full

    def connect(self) -> ObjectClient:
        """Return what sends requests to it."""
        return connect(self.parsed, self.options)

    @property
    def lists(self) -> bool:
        """Whether the objects in it can be listed."""
        return not self.parsed.is_http


@dataclass(frozen=True, eq=False, repr=False)
class OwnStore:
    """A store of the user's own.

    Parameters
    ----------
    store
        The store: of obstore, or with the same methods.
    name
        What names of its objects begin with.
    pid
        The process in which it was made.
    """

    store: Any
    name: str
    pid: int | None = field(default_factory=os.getpid)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "pid": None}  # whoever unpickles it has made it

    def connect(self) -> ObjectClient:
        """Return what sends requests to it, in this process."""
        store = self.store
        retry = getattr(store, "retry_config", None)
        if _is_of_obstore(store):
            store = _remake(store, self.name)
        elif self.pid is not None and self.pid != os.getpid():
            store = _copy(store, self.name)
        return ObstoreClient(store, self.name, retry)

    @property
    def lists(self) -> bool:
        """Whether the objects in it can be listed."""
        return type(self.store).__name__ != "HTTPStore"


def _is_of_obstore(store: object) -> bool:
    kinds = type(store).__mro__  # fsspec's classes for a scheme are made of obstore's
    return any(kind.__module__.partition(".")[0] == "obstore" for kind in kinds)


def _remake(store: Any, name: str) -> Any:  # Any: a store of obstore
    """Return a store of obstore as this process's own library has it."""
    stores = load_obstore().store
    kind = getattr(stores, type(store).__name__, None)
    if kind is type(store):
        return store
    if kind is None or not hasattr(store, "__getnewargs_ex__"):
        raise StoreError(
            f"{name}: a {type(store).__name__} can be read in the process that made it"
            " only, and this one was forked from it; use threads, or spawned workers"
        )
    args, options = store.__getnewargs_ex__()
    return kind(*args, **options)


def _copy(obj: Any, name: str) -> Any:  # Any: a store, file system or file
    """Return a store, file system or file made anew, in a forked process."""
    try:
        return pickle.loads(pickle.dumps(obj))
    except Exception:
        problem = (
            f"{name}: a {type(obj).__name__} cannot be made anew in a forked process,"
            " since it does not pickle; use threads in place of workers"
        )
    raise StoreError(problem)


@dataclass(frozen=True, eq=False, repr=False)
class OwnFile:
    """A file object of the user's own.

    Parameters
    ----------
    file
        The file.
    name
        How it is called.
    pid
        The process in which it was opened.
    """

    file: Any
    name: str
    pid: int | None = field(default_factory=os.getpid)

    lists = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "pid": None}

    def connect(self) -> ObjectClient:
        """Return what reads it, in this process."""
        file = self.file
        if self.pid is not None and self.pid != os.getpid():
            file = self._copy_file()
        return FileClient(file, self.name)

    def _copy_file(self) -> Any:  # Any: a file object
        """Return the file for a process that was forked from the one that opened it."""
        file, fs = self.file, getattr(self.file, "fs", None)
        if fs is not None and _is_of_obstore(fs):
            raise StoreError(
                f"{self.name}: a file of obstore.fsspec can be read in the process that"
                " made it only, and this one was forked from it; open the store itself,"
                " open((store, path)), or use spawned workers"
            )
        if fs is not None:
            return _Reopened(_copy(fs, self.name), file.path)
        if _has_descriptor(file):
            raise StoreError(
                f"{self.name}: a file that was opened before the process was forked is"
                " shared with the parent, which moves its position; give its path, or"
                " use spawned workers"
            )
        # Memory was copied by the fork; a connection was not.
        return file if isinstance(file, io.BytesIO) else _copy(file, self.name)


@dataclass(frozen=True)
class _Reopened:
    """A file of a file system of fsspec, by its path there."""

    fs: Any
    path: str


def _has_descriptor(file: Any) -> bool:  # Any: a file object
    try:
        return isinstance(file.fileno(), int)
    except Exception:  # whatever its class raises
        return False


Root = UrlRoot | OwnStore | OwnFile


class ObjectStore:
    """Opens objects by name: the :class:`~..io.byte_sources.ByteStore` of stores.

    An object is what it was when it was first asked for, in this process or in the one
    that this store was pickled in: every request says so, and the answer that shows
    another one is an error. It pickles with what the user gave, and shows none of it.

    Parameters
    ----------
    roots
        Buckets, stores and files, by what the names of their objects begin with.
    cache
        Keeps what describes the objects; None: nothing does.
    """

    def __init__(self, roots: Mapping[str, Root], cache: Cache | None = None) -> None:
        self._roots = dict(roots)
        self._cache = cache
        self._kept: dict[str, KeptObject] = {}
        self._known: dict[str, ObjectIdentity] = {}
        self._opening = object()
        self._clients: dict[str, ObjectClient] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "roots": self._roots,
            "cache": self._cache,
            "known": dict(self._known),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["roots"], state["cache"])  # type: ignore[misc]
        self._known = state["known"]

    def __repr__(self) -> str:
        return f"ObjectStore({', '.join(self._roots)})"

    def holds(self, name: str) -> bool:
        """Return whether a name is that of an object or folder here."""
        return self._find_root(name) is not None

    @property
    def is_of_plain_urls(self) -> bool:
        """Whether names alone lead to all objects, but for the options of stores."""
        return all(
            isinstance(root, UrlRoot) and root.is_named_by(name)
            for name, root in self._roots.items()
        )

    def expect(self, name: str, identity: ObjectIdentity) -> None:
        """Take for known what an object is; to read another one is an error."""
        self._known[name] = identity

    def open(self, name: str) -> ObjectSource:
        """Return an object as a source of bytes.

        Raises
        ------
        ObjectMissingError
            If there is none of this name.
        StoreError
            If the store gives no answer, or refuses one.
        """
        return self.open_known(name, self.identify(name))

    def open_known(self, name: str, identity: ObjectIdentity) -> ObjectSource:
        """Return an object of which it is known what it is; nothing is asked."""
        return ObjectSource(name, identity, self.get)

    def open_reader(self, name: str) -> BlockReader:
        """Return an object as a file, for what is read in many small pieces."""
        self.client_of(name)  # connects, so that HDF5 need not wait for that
        return BlockReader(self.open(name), self.kept(name), self._opening)

    def identify(self, name: str) -> ObjectIdentity:
        """Return what an object is; the store is asked when this is first called."""
        known = self._known.get(name)
        if known is None:
            client, key = self.client_of(name)
            known = self._known.setdefault(name, client.head(key))
        return known

    def identify_now(self, name: str) -> ObjectIdentity:
        """Return what an object is now."""
        client, key = self.client_of(name)
        return client.head(key)

    def get(self, name: str, start: int, stop: int, expected: ObjectIdentity) -> Any:
        """Return bytes of an object in one request. Any: an object with a buffer."""
        client, key = self.client_of(name)
        return client.get(key, start, stop, expected)

    def get_whole(self, name: str) -> Any:  # Any: an object with a buffer
        """Return all bytes of an object, in one request.

        Raises
        ------
        FileChangedError
            If it is not what it was when it was first asked for.
        """
        client, key = self.client_of(name)
        found, data = client.get_whole(key, self._known.get(name))
        check_unchanged(name, self._known.setdefault(name, found), found)
        return data

    def kept(self, name: str) -> KeptObject | None:
        """Return what keeps the description of an object; None: nothing does."""
        if self._cache is None:
            return None
        known = self._kept.get(name)
        if known is None:
            identity = self.identify(name)
            if identity.version is None:  # it cannot be told from another one
                return None
            known = KeptObject(self._cache, name, identity, self)
            self._kept[name] = known
        return known

    def opened_by(self, name: str) -> str:
        """Return what `open` takes for a name or glob, as messages show it."""
        root = self._find_root(name)
        if root is None or not isinstance(self._roots[root], OwnStore):
            return repr(name)
        return f"(store, {name[len(root) :].strip('/')!r})"

    def lists(self, name: str) -> bool:
        """Return whether the objects around a name can be listed."""
        root = self._find_root(name)
        return root is not None and self._roots[root].lists

    def list_objects(self, folder: str) -> Iterator[ListedObject]:
        """Yield all objects below a folder, with their names in place of keys."""
        client, key = self.client_of(folder)
        root = self._find_root(folder)
        for found in client.list_objects(key):
            yield ListedObject(f"{root}/{found.key}", found.identity)

    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of folders and objects right below a folder."""
        client, key = self.client_of(folder)
        root = self._find_root(folder)
        folders, keys = client.list_folder(key)
        return [f"{root}/{one}" for one in folders], [f"{root}/{one}" for one in keys]

    def client_of(self, name: str) -> tuple[ObjectClient, str]:
        """Return what sends requests for an object, and the object's key there."""
        root = self._find_root(name)
        if root is None:
            raise StoreError(f"{name}: it is in none of {', '.join(self._roots)}")
        if self._pid != os.getpid():  # a thread of the parent may hold its lock
            self._lock = threading.Lock()
            self._pid, self._clients = os.getpid(), {}
        client = self._clients.get(root)  # HDF5 may wait for this: no lock, if possible
        if client is None:
            with self._lock:
                client = self._clients.get(root)
                if client is None:
                    client = self._clients[root] = self._roots[root].connect()
        return client, name[len(root) :].strip("/")

    def _find_root(self, name: str) -> str | None:
        """Return the longest root that a name begins with."""
        here = name
        while here:
            if here in self._roots:
                return here
            here = here.rpartition("/")[0]
        return None
