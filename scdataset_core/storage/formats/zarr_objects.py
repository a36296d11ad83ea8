"""A folder of an object store, as zarr-python reads stores."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, NoReturn

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)

from ...errors import ObjectMissingError, StoreAccessError
from ..remote.object_store import ObjectStore

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["ZarrObjects"]


class ZarrObjects(Store):  # type: ignore[misc]  # zarr counts as untyped
    """Reads the objects below a folder; it cannot be written to.

    Parameters
    ----------
    objects
        The store that they are in.
    root
        The name of the folder.
    """

    supports_writes = False
    supports_deletes = False

    def __init__(self, objects: ObjectStore, root: str) -> None:
        super().__init__(read_only=True)
        self.objects, self.root = objects, root
        self._has_read = False

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZarrObjects)
            and self.root == other.root
            and self.objects is other.objects
        )

    __hash__ = None  # type: ignore[assignment]  # as other stores of zarr

    def __str__(self) -> str:
        return self.root

    def __repr__(self) -> str:
        return f"ZarrObjects({self.root})"

    @property
    def supports_listing(self) -> bool:
        """Whether the members of a group can be listed."""
        return self.objects.lists(self.root)

    def _name(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    async def get(
        self,
        key: str,
        prototype: "BufferPrototype",
        byte_range: ByteRequest | None = None,
    ) -> "Buffer | None":
        """Return the bytes of an object, or a range of them; None if there is none."""
        data = await asyncio.to_thread(self._get, self._name(key), byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _get(self, name: str, byte_range: ByteRequest | None) -> bytes | None:
        try:
            if byte_range is None:
                data = bytes(self.objects.get_whole(name))
            else:
                identity = self.objects.identify(name)
                start, stop = _bounds(byte_range, identity.n_bytes)
                if start >= stop:
                    return b""
                data = bytes(self.objects.get(name, start, stop, identity))
        except ObjectMissingError:
            return None
        except StoreAccessError:
            # S3 refuses what is not there to those who may not list the bucket.
            if not self._has_read:
                raise
            return None
        self._has_read = True
        return data

    async def get_partial_values(
        self,
        prototype: "BufferPrototype",
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> "list[Buffer | None]":
        """Return several ranges, see :meth:`get`."""
        asked = [self.get(key, prototype, some) for key, some in key_ranges]
        return list(await asyncio.gather(*asked))

    async def exists(self, key: str) -> bool:
        """Return whether there is an object."""
        try:
            await asyncio.to_thread(self.objects.identify, self._name(key))
        except ObjectMissingError:
            return False
        return True

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of what lies right below a prefix."""
        folder = self._name(prefix.strip("/"))
        folders, names = await asyncio.to_thread(self.objects.list_folder, folder)
        for name in [*folders, *names]:
            yield name.rpartition("/")[2]

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys of all objects below a prefix."""
        folder = self._name(prefix.strip("/"))
        found = await asyncio.to_thread(
            lambda: [one.key for one in self.objects.list_objects(folder)]
        )
        for name in found:
            yield name[len(self.root) + 1 :]

    def list(self) -> AsyncIterator[str]:
        """Yield the keys of all objects."""
        return self.list_prefix("")

    async def set(self, key: str, value: "Buffer") -> NoReturn:
        """Raise: the store is only read."""
        raise NotImplementedError(f"{self.root} is only read")

    async def delete(self, key: str) -> NoReturn:
        """Raise: the store is only read."""
        raise NotImplementedError(f"{self.root} is only read")


def _bounds(some: ByteRequest, n_bytes: int) -> tuple[int, int]:
    """Return the first byte of a range and the one behind it."""
    if isinstance(some, RangeByteRequest):
        return some.start, min(some.end, n_bytes)
    if isinstance(some, OffsetByteRequest):
        return some.offset, n_bytes
    assert isinstance(some, SuffixByteRequest)
    return max(n_bytes - some.suffix, 0), n_bytes
