"""What sends requests for objects: one small interface over obstore's stores."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from ..io.identities import check_unchanged
from .failures import ShortAnswerError, explain, is_short_answer
from .identity import ObjectIdentity
from .obstore_library import load_obstore
from .urls import ParsedUrl

__all__ = ["ListedObject", "ObjectClient", "ObstoreClient", "connect"]

# A store's policy where the user gives none; obstore's own is the same.
MOST_RETRIES = 10
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class ListedObject(NamedTuple):
    """An object that a store lists: its key, and what it is now."""

    key: str
    identity: ObjectIdentity


class ObjectClient(Protocol):
    """Sends requests to one bucket, host or file, from any thread of this process.

    Its errors are those of this library, and hold nothing secret.
    """

    def head(self, key: str) -> ObjectIdentity:
        """Return what an object is now."""
        ...

    def get(
        self, key: str, start: int, stop: int, expected: ObjectIdentity
    ) -> Any:  # Any: an object with a buffer
        """Return bytes ``[start, stop)`` of an object that is what is expected."""
        ...

    def get_whole(
        self, key: str, expected: ObjectIdentity | None
    ) -> tuple[ObjectIdentity, Any]:  # Any: an object with a buffer
        """Return what an object is now, and all of its bytes; None: it is not known."""
        ...

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield every object whose key begins with ``prefix/``; all for ""."""
        ...

    def list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the keys of folders and objects right below ``prefix/``."""
        ...


class ObstoreClient:
    """Sends requests through a store of obstore, or one that has its methods.

    Parameters
    ----------
    store
        The store, made in this process.
    root
        What names of its objects begin with, in messages.
    retry_config
        How obstore tries again what fails: answers that are too short, which it does
        not try again, are tried again here in the same way.
    """

    def __init__(
        self,
        store: Any,  # Any: has the methods of obstore's stores
        root: str,
        retry_config: Mapping[str, Any] | None = None,
    ) -> None:
        self._store, self._root = store, root
        policy = retry_config or {}
        backoff = policy.get("backoff") or {}
        # The tags of a store in memory count its objects from 0, in every process.
        self._has_tags = type(store).__name__ != "MemoryStore"
        # Azure lists tags without the quotation marks that it answers with, and wants.
        self._lists_bare_tags = type(store).__name__ == "AzureStore"
        self._retries = int(policy.get("max_retries", MOST_RETRIES))
        first = backoff.get("init_backoff", timedelta(seconds=FIRST_WAIT_S))
        self._first_wait_s = first.total_seconds()

    def _name(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def head(self, key: str) -> ObjectIdentity:
        """Return what an object is now, see :class:`ObjectClient`."""
        try:
            return self._identify(self._store.head(key))
        except Exception as error:
            failure, text = explain(error, self._name(key)), str(error)
        # Some servers, and signed URLs, answer GET alone. Where it is refused too, only
        # its answer says why: that to HEAD has no body.
        if any(f"status code: {status}" in text for status in (403, 405, 501)):
            try:
                first = self._store.get(key, options={"range": (0, 1)})
                return self._identify(first.meta)
            except Exception as error:
                failure = explain(error, self._name(key))
        raise failure

    def get(
        self, key: str, start: int, stop: int, expected: ObjectIdentity
    ) -> Any:  # Any: an object with a buffer
        """Return bytes of an object, see :class:`ObjectClient`."""
        for n in range(self._retries + 1):
            try:
                return self._get_once(key, start, stop, expected)
            except Exception as error:
                again = is_short_answer(error) or (
                    expected.etag is None and "IncompleteBody" in str(error)
                )
                span = (start, stop)
                failure = explain(error, self._name(key), span=span, was_open=True)
            if not again:
                break
            if n < self._retries:
                time.sleep(min(self._first_wait_s * 2**n, LONGEST_WAIT_S))
        raise failure

    def _get_once(
        self, key: str, start: int, stop: int, expected: ObjectIdentity
    ) -> Any:  # Any: an object with a buffer
        options = {"range": (start, stop), **_demand(expected)}
        answer = self._store.get(key, options=options)
        # Servers may ignore what a request demands.
        now = self._identify(answer.meta)
        if now != expected:
            raise _changed(self._name(key), expected, now)
        data = answer.bytes()
        if len(data) != stop - start:
            raise ShortAnswerError(f"{len(data)} bytes")
        return data

    def get_whole(
        self, key: str, expected: ObjectIdentity | None
    ) -> tuple[ObjectIdentity, Any]:  # Any: an object with a buffer
        """Return an object, see :class:`ObjectClient`."""
        try:
            answer = self._store.get(key, options=_demand(expected))
            found, data = self._identify(answer.meta), answer.bytes()
            if len(data) != found.n_bytes:
                raise ShortAnswerError(f"{len(data)} bytes")
        except Exception as error:
            failure = explain(error, self._name(key), was_open=expected is not None)
        else:
            return found, data
        raise failure

    def _identify(self, meta: Mapping[str, Any]) -> ObjectIdentity:
        """Return the identity of an object, from what obstore says of it."""
        modified, text = meta.get("last_modified"), None
        # obstore puts the beginning of time where a server gives no date.
        if isinstance(modified, datetime) and modified.timestamp() > 0:
            text = modified.astimezone(UTC).isoformat()
        tag = meta.get("e_tag") if self._has_tags else None
        if tag and self._lists_bare_tags and not tag.endswith('"'):
            tag = f'"{tag}"'
        return ObjectIdentity(int(meta["size"]), tag, text)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield objects, see :class:`ObjectClient`."""
        failure = None
        try:
            for some in self._store.list(prefix or None, chunk_size=1000):
                for meta in some:
                    yield ListedObject(str(meta["path"]), self._identify(meta))
        except Exception as error:
            failure = explain(error, self._name(prefix))
        if failure is not None:
            raise failure

    def list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return folders and objects, see :class:`ObjectClient`."""
        try:
            if not hasattr(self._store, "list_with_delimiter"):  # not one of obstore
                return self._find_folder(prefix)
            found = self._store.list_with_delimiter(prefix or None)
            folders = [str(folder).rstrip("/") for folder in found["common_prefixes"]]
            return folders, [str(meta["path"]) for meta in found["objects"]]
        except Exception as error:
            failure = explain(error, self._name(prefix))
        raise failure

    def _find_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return folders and objects of a store that lists all below them only."""
        start = f"{prefix}/" if prefix else ""
        folders: dict[str, None] = {}
        keys = []
        for key, _ in self.list_objects(prefix):
            name, slash, _ = key.removeprefix(start).partition("/")
            if slash:
                folders[start + name] = None
            else:
                keys.append(key)
        return list(folders), keys


def _demand(expected: ObjectIdentity | None) -> dict[str, Any]:
    """Return the options of a request that is to be answered by one version alone."""
    if expected is None or not expected.can_be_demanded:
        return {}
    return {"if_match": expected.etag}


def _changed(name: str, expected: ObjectIdentity, now: ObjectIdentity) -> Exception:
    """Return the error for an object that is not what it was."""
    try:
        check_unchanged(name, expected, now)
    except Exception as error:
        return error
    raise AssertionError("the identities are equal")


def connect(parsed: ParsedUrl, options: Mapping[str, Any]) -> ObstoreClient:
    """Return a client for the bucket or file of a URL, made in this process.

    Parameters
    ----------
    parsed
        The URL.
    options
        Keyword arguments of obstore's store class.

    Raises
    ------
    ModuleNotFoundError
        If obstore is not installed.
    ValueError
        If obstore does not take the options.
    """
    stores = load_obstore().store
    names = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
    name = names.get(parsed.scheme, "HTTPStore")
    given = dict(options)
    if parsed.scheme == "http" or _has_plain_endpoint(given):
        given["client_options"] = {
            "allow_http": True,
            **(given.get("client_options") or {}),
        }
    try:
        store = getattr(stores, name)(parsed.bucket, **given)
    except Exception as error:
        wrong = _explain_options(name, error, given)
    else:
        return ObstoreClient(store, parsed.root, given.get("retry_config"))
    raise wrong


def _has_plain_endpoint(options: Mapping[str, Any]) -> bool:
    """Return whether the user names an endpoint without TLS."""
    known = [options, options.get("config") or {}]
    return any(
        str(where.get(name, "")).startswith("http://")
        for where in known
        if isinstance(where, Mapping)
        for name in where
        if "endpoint" in str(name).lower()
    )


def _explain_options(
    name: str, error: Exception, options: Mapping[str, Any]
) -> ValueError:
    """Return the error for options that a store does not take, without their values."""
    text = str(error)
    wrong = [key for key in options if f"'{key}'" in text or f": {key}." in text]
    inner = options.get("client_options")
    if isinstance(inner, Mapping):
        wrong += [f"client_options[{key!r}]" for key in inner if f": {key}." in text]
    what = f"{', '.join(wrong)} is not known there" if wrong else "a value is wrong"
    return ValueError(
        f"storage_options are the keyword arguments of obstore.store.{name}, and {what}"
        f" ({type(error).__name__}); got {', '.join(map(str, options)) or 'none'}"
    )
