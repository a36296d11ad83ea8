"""Finding things in a zarr store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError
from ..storage import StoredArray
from ..storage.zarr import is_undescribed

if TYPE_CHECKING:
    import zarr

__all__ = ["ZarrTree"]

_TEXT_KINDS = "OSUT"


class ZarrTree:
    """The groups and arrays of a zarr store, found by path.

    Parameters
    ----------
    root
        The open group.
    file
        Its name, for errors.
    """

    format = "zarr"

    def __init__(self, root: "zarr.Group", file: str) -> None:
        self.root = root
        self.file = file

    def find(self, path: str) -> "zarr.Group | zarr.Array | None":
        """Return what lies at `path`, or None."""
        try:
            found = self.root[path]
        except KeyError:
            return None
        except Exception as error:  # zarr raises what its parsers do
            raise FileFormatError(
                f"{self.file}: zarr cannot read the description of {path}:"
                f" {type(error).__name__}: {error}"
            ) from error
        # Consolidated metadata may describe what is not there, and zarr gives zeros.
        if is_undescribed(found):
            raise FileFormatError(
                f"{self.file}: {path} is missing, and the store's own list has it; the"
                " store was not copied whole, copy it again"
            )
        return found

    def group(self, path: str) -> "zarr.Group | None":
        """Return the group at `path`, or None."""
        import zarr

        found = self.find(path)
        return found if isinstance(found, zarr.Group) else None

    def dataset(self, path: str) -> "zarr.Array":
        """Return the array at `path`; an error if there is none."""
        found = self.find(path)
        if not self.is_array(found):
            what = "is missing" if found is None else "is a group, not an array"
            raise FileFormatError(f"{self.file}: {path} {what}")
        return found

    def is_array(self, node: "zarr.Group | zarr.Array | None") -> bool:
        """Return whether what was found is an array."""
        import zarr

        return isinstance(node, zarr.Array)

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether arrays of a type hold text."""
        return np.dtype(dtype).kind in _TEXT_KINDS

    def stored(self, array: "zarr.Array") -> StoredArray:
        """Return an array to be read by ranges."""
        return StoredArray.from_zarr(array)

    @contextmanager
    def again(self) -> "Iterator[ZarrTree]":
        """Return the store, which stays open."""
        yield self

    def categories_of(self, codes: "zarr.Array") -> "zarr.Array":
        """Return the array that AnnData 0.7's codes name."""
        name = str(codes.attrs["categories"])
        inside = codes.path.removeprefix(self.root.path).strip("/")
        folder = inside.rpartition("/")[0]
        return self.dataset(f"{folder}/{name}")
