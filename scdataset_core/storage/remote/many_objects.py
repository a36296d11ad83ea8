"""What many objects of a folder are, and pieces of them, asked for all together."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import overload

import numpy as np
import numpy.typing as npt

from ...checks import digest
from ...errors import FileFormatError, ObjectMissingError
from ..formats.declared_sizes import check_present
from .identity import ObjectIdentity
from .object_store import ObjectStore
from .request_threads import most_in_flight
from .requests import ExpectedReads, WantedRanges

__all__ = ["ObjectIdentities", "identify_all", "read_spans"]

Integers = npt.NDArray[np.int64]
# Objects that are asked for one by one: a store answers some thousands a second.
_MOST_ASKED = 1 << 20


class ObjectIdentities(Sequence[ObjectIdentity | None]):
    """Holds what each of many objects is; None where there is no object.

    Parameters
    ----------
    n_bytes
        Size of each object; -1 where there is none.
    versions
        ETag of each, or else when it was last changed; "" where neither is known.
    has_tags
        Whether the versions are ETags.
    """

    def __init__(
        self, n_bytes: Integers, versions: npt.NDArray[np.str_], *, has_tags: bool
    ) -> None:
        self.n_bytes = n_bytes
        self._versions, self._has_tags = versions, has_tags

    @classmethod
    def of(cls, known: Sequence[ObjectIdentity | None]) -> "ObjectIdentities":
        """Return those that were found one by one."""
        has_tags = any(one is not None and one.etag for one in known)
        versions = [
            "" if one is None else (one.etag if has_tags else one.modified) or ""
            for one in known
        ]
        n_bytes = [-1 if one is None else one.n_bytes for one in known]
        return cls(
            np.array(n_bytes, np.int64), np.array(versions, str), has_tags=has_tags
        )

    def digest(self) -> str:
        """Return a digest of what all objects are."""
        return digest(self.n_bytes) + digest(
            np.frombuffer("\n".join(self._versions.tolist()).encode(), np.uint8)
        )

    def __len__(self) -> int:
        return len(self.n_bytes)

    @overload
    def __getitem__(self, number: int) -> ObjectIdentity | None: ...
    @overload
    def __getitem__(self, number: slice) -> list[ObjectIdentity | None]: ...
    def __getitem__(
        self, number: int | slice
    ) -> ObjectIdentity | list[ObjectIdentity | None] | None:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        n_bytes, version = int(self.n_bytes[number]), str(self._versions[number])
        if n_bytes < 0:
            return None
        tag, modified = (version, None) if self._has_tags else (None, version)
        return ObjectIdentity(n_bytes, tag or None, modified or None)


def identify_all(
    store: ObjectStore, folder: str, names: Sequence[str]
) -> ObjectIdentities:
    """Return what each of some objects below a folder is now.

    They are listed; where a store does not list, it is asked of each.

    Raises
    ------
    FileFormatError
        If there cannot be as many, or they are too many to be asked for.
    """
    if store.lists(folder):
        listed = dict(store.list_objects(folder))
        check_present(folder, n_chunks=len(names), n_there=len(listed))
        every = [names[i] for i in range(len(names))]
        return ObjectIdentities.of([listed.get(name) for name in every])

    if len(names) > _MOST_ASKED:
        raise FileFormatError(
            f"{folder} may have {len(names):,} objects, and its store does not list"
            f" them; at most {_MOST_ASKED:,} are asked for one by one: write it again"
            " with larger chunks or in shards, or open it where objects are listed"
        )

    def identify(name: str) -> ObjectIdentity | None:
        try:
            return store.identify_now(name)
        except ObjectMissingError:
            return None

    every = [names[i] for i in range(len(names))]
    with ThreadPoolExecutor(min(most_in_flight(), max(len(every), 1))) as pool:
        return ObjectIdentities.of(list(pool.map(identify, every)))


def read_spans(
    store: ObjectStore,
    objects: Sequence[tuple[str, ObjectIdentity]],
    starts: Sequence[int],
    n_bytes: int,
) -> Iterator[bytes]:
    """Yield so many bytes of each object, from its start on; all are asked for."""
    sources = [store.open_known(name, identity) for name, identity in objects]
    numbers = np.arange(len(sources))
    sizes = np.full(len(sources), n_bytes, np.int64)
    wanted = WantedRanges(sources, numbers, np.array(starts, np.int64), sizes)
    ExpectedReads().begin(wanted)
    for source, start in zip(sources, starts, strict=True):
        yield b"".join(map(bytes, wanted.take(source, start, n_bytes)))
