"""Stores and files that users bring: of obstore, of fsspec, or others like them."""

import os
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

from ...errors import ObjectMissingError
from ..io.fork_safe_lock import ForkSafeLock
from ..io.identities import check_unchanged
from .clients import ListedObject
from .failures import ShortAnswerError, explain
from .identity import ObjectIdentity

__all__ = ["FileClient", "is_file_object", "is_store", "name_of_file", "name_of_store"]

# How often a file of fsspec is looked at, whether it still is what it was.
CHECK_S = 1.0


def is_store(obj: object) -> bool:
    """Return whether an object has the methods of obstore's stores that are needed."""
    return all(callable(getattr(obj, name, None)) for name in ("head", "get", "list"))


def is_file_object(obj: object) -> bool:
    """Return whether an object is a file of bytes, open or one that fsspec opens."""
    if is_fsspec_file(obj):
        return True
    return all(callable(getattr(obj, name, None)) for name in ("read", "seek", "tell"))


def is_fsspec_file(obj: object) -> bool:
    """Return whether an object is a file of a file system of fsspec."""
    fs = getattr(obj, "fs", None)
    return fs is not None and callable(getattr(fs, "cat_file", None))


def name_of_store(store: Any) -> str:
    """Return what names of the objects of a user's store begin with.

    Any: whatever has the methods of a store. Nothing but bucket and prefix is shown.
    """
    config = getattr(store, "config", None)
    bucket = None
    if isinstance(config, dict):
        bucket = config.get("bucket") or config.get("container_name")
    prefix = str(getattr(store, "prefix", None) or "").strip("/")
    schemes = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}
    kind = type(store).__name__
    scheme = schemes.get(kind, kind)
    start = f"{scheme}://{bucket}" if bucket else f"{scheme}:/"
    if kind == "HTTPStore":
        from .urls import parse_url

        try:
            return parse_url(str(store.url)).root
        except ValueError:
            start = str(store.url).partition("?")[0].rpartition("@")[2].rstrip("/")
            return start if "://" in start else f"http://{start}"
    return f"{start}/{prefix}" if prefix else start


def name_of_file(file: Any) -> str:  # Any: a file object
    """Return what a file of the user's own is called."""
    if is_fsspec_file(file):
        protocol = getattr(file.fs, "protocol", "fsspec")
        first = protocol if isinstance(protocol, str) else protocol[0]
        path = str(getattr(file, "path", "")).partition("?")[0]
        path = path.partition("://")[2] or path
        return f"{first}://{path.rpartition('@')[2].lstrip('/')}"
    name = getattr(file, "name", None)
    return f"file-object://{name if isinstance(name, str) else type(file).__name__}"


class _Position:
    """The one position of a file object, which one thread at a time moves."""

    def __init__(self, file: Any) -> None:  # Any: a file object
        self.file = file
        self.lock = threading.Lock()


_lock = ForkSafeLock()
# By process and `id`: a forked process reads a copy, whose lock no thread may hold yet.
_positions: WeakValueDictionary[tuple[int, int], _Position] = WeakValueDictionary()


def _position_of(file: Any) -> _Position:  # Any: a file object
    """Return the position of a file: the same to all who read the file meanwhile."""
    with _lock:
        position = _positions.get((os.getpid(), id(file)))
        if position is None:
            position = _positions[os.getpid(), id(file)] = _Position(file)
    return position


class FileClient:
    """Reads one file object: through fsspec's file system, or by moving its position.

    Parameters
    ----------
    file
        The file. Of fsspec, a new one is opened by its file system; of others the
        position moves, and only one thread at a time reads.
    name
        How it is called in messages.
    """

    def __init__(self, file: Any, name: str) -> None:  # Any: a file object
        self._name = name
        self._fs = file.fs if is_fsspec_file(file) else None
        self._path = file.path if self._fs is not None else None
        self._position = None if self._fs is not None else _position_of(file)
        self._checked = -CHECK_S

    def head(self, key: str) -> ObjectIdentity:
        """Return what the file is now."""
        if key:
            raise ObjectMissingError(f"{self._name} is one file, and has no {key}")
        try:
            if self._fs is not None:
                info = dict(self._fs.info(self._path))
                tag = info.get("ETag") or info.get("etag") or info.get("md5")
                times = ("LastModified", "last_modified", "mtime", "updated", "created")
                modified = next((info[key] for key in times if info.get(key)), None)
                return ObjectIdentity(
                    int(info["size"]),
                    str(tag) if tag else None,
                    str(modified) if modified else None,
                )
            assert self._position is not None
            with self._position.lock:
                file = self._position.file
                file.seek(0, 2)
                return ObjectIdentity(int(file.tell()))
        except Exception as error:
            failure = explain(error, self._name)
        raise failure

    def get(self, key: str, start: int, stop: int, expected: ObjectIdentity) -> Any:
        """Return bytes of the file. Any: an object with a buffer."""
        try:
            if self._fs is not None:
                self._check_now_and_then(expected)
                data = self._fs.cat_file(self._path, start=start, end=stop)
            else:
                data = self._read(start, stop)
            if len(data) != stop - start:
                raise ShortAnswerError(f"{len(data)} bytes")
            return data
        except Exception as error:
            failure = explain(error, self._name, span=(start, stop), was_open=True)
        raise failure

    def _check_now_and_then(self, expected: ObjectIdentity) -> None:
        """Raise if the file is not what is expected: a request cannot demand it."""
        now = monotonic()
        if now - self._checked > CHECK_S:
            self._checked = now
            check_unchanged(self._name, expected, self.head(""))

    def get_whole(
        self, key: str, expected: ObjectIdentity | None
    ) -> tuple[ObjectIdentity, Any]:
        """Return the file. Any: an object with a buffer."""
        found = self.head(key)
        return found, self.get(key, 0, found.n_bytes, found)

    def _read(self, start: int, stop: int) -> bytes:
        assert self._position is not None
        parts, file = [], self._position.file
        with self._position.lock:
            file.seek(start)
            left = stop - start
            while left > 0:
                part = memoryview(file.read(left))  # text has none
                if not part.nbytes:
                    break
                parts.append(part)
                left -= part.nbytes
        return b"".join(parts)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield nothing: it is one file."""
        yield from ()

    def list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return nothing: it is one file."""
        return [], []
