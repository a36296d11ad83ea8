"""A folder as zarr-python reads stores, which opens nothing but plain files."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

from ..io.open_files import check_plain

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["PlainFolder"]


class PlainFolder(LocalStore):  # type: ignore[misc]  # zarr counts as untyped
    """A local store in which a pipe in the place of a file is an error.

    To open a pipe waits until somebody writes to it.
    """

    async def get(
        self,
        key: str,
        prototype: "BufferPrototype | None" = None,
        byte_range: "ByteRequest | None" = None,
    ) -> "Buffer | None":
        """Return the bytes of a file, or a range of them; None if there is none."""
        check_plain(f"{self.root}/{key}")
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: "BufferPrototype",
        key_ranges: "Iterable[tuple[str, ByteRequest | None]]",
    ) -> "list[Buffer | None]":
        """Return ranges of files, as :meth:`get` does."""
        wanted = list(key_ranges)
        for key, _ in wanted:
            check_plain(f"{self.root}/{key}")
        found: list[Buffer | None] = await super().get_partial_values(prototype, wanted)
        return found

    def get_sync(
        self,
        key: str,
        *,
        prototype: "BufferPrototype | None" = None,
        byte_range: "ByteRequest | None" = None,
    ) -> "Buffer | None":
        """Return what :meth:`get` does; releases of zarr that lack it never ask."""
        check_plain(f"{self.root}/{key}")
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)
