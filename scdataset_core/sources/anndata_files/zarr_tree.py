"""The groups and arrays of a zarr store, found by path."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError, ScdatasetError
from ...storage import StoredArray
from ...storage.formats.declared_sizes import check_declared
from ...storage.formats.zarr import check_written
from ...storage.formats.zarr_codecs import check_description, unknown_codec
from ...storage.formats.zarr_stores import folder_of, reopen_group
from ...storage.io.open_files import check_plain

if TYPE_CHECKING:
    import zarr

__all__ = ["ZarrTree"]

_TEXT_KINDS = "OSUT"
_LISTS = (".zmetadata", "zarr.json")  # files that may list all members of a store


class ZarrTree:
    """The groups and arrays of a zarr store, found by path.

    Parameters
    ----------
    root
        The open group.
    file
        Its name, for errors.

    Attributes
    ----------
    arrays : dict
        The arrays that were asked for so far, by their paths in the store.
    """

    format = "zarr"

    def __init__(self, root: "zarr.Group", file: str) -> None:
        self.root = root
        self.file = file
        self.arrays: dict[str, zarr.Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "file": self.file, "arrays": {}}

    def find(self, path: str) -> "zarr.Group | zarr.Array | None":
        """Return the group or array at `path`, or None."""
        where = f"{self.file}: {path}"
        try:
            found = self.root[path]
        except KeyError:
            if path in self._listed:
                raise FileFormatError(
                    f"{where} is missing, and the store's own list has it; the store"
                    " was not copied whole, copy it again"
                ) from None
            return None
        except ScdatasetError:
            raise
        except Exception as error:  # zarr raises what its parsers do
            raise unknown_codec(where, error) or FileFormatError(
                f"{self.file}: zarr cannot read the description of {path}:"
                f" {type(error).__name__}: {error}"
            ) from error
        if not isinstance(found.metadata.attributes, Mapping):
            raise FileFormatError(
                f"{where} has the attributes {found.metadata.attributes!r}, expected"
                " names and values; its description is damaged, restore it"
            )
        if self.is_array(found):
            check_description(where, found.metadata.to_dict())
        return found

    @cached_property
    def _listed(self) -> frozenset[str]:
        """The paths that a local store's list of its members names, if it has one."""
        folder = folder_of(self.root)
        members: set[str] = set()
        for name in _LISTS if folder is not None else ():
            check_plain(f"{folder}/{name}")
            try:
                known = json.loads(Path(folder or "", name).read_bytes())
                known = known.get("consolidated_metadata") or known
                listed = [str(key) for key in known.get("metadata") or ()]
            except (OSError, ValueError, AttributeError, TypeError, RecursionError):
                continue  # the list is only a hint, and need not be there
            described = (".zarray", ".zgroup", ".zattrs")
            members.update(
                key.rpartition("/")[0] if key.endswith(described) else key
                for key in listed
            )
        return frozenset(members)

    def group(self, path: str) -> "zarr.Group | None":
        """Return the group at `path`, or None."""
        import zarr

        found = self.find(path)
        return found if isinstance(found, zarr.Group) else None

    def dataset(self, path: str) -> "zarr.Array":
        """Return the array at `path`; an error if there is none."""
        found: Any = self.find(path)
        if not self.is_array(found):
            what = "is missing" if found is None else "is a group, not an array"
            raise FileFormatError(f"{self.file}: {path} {what}")
        array: zarr.Array = found
        self.arrays[array.path] = array
        return array

    def is_array(self, node: "zarr.Group | zarr.Array | None") -> bool:
        """Return whether what was found is an array."""
        import zarr

        return isinstance(node, zarr.Array)

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether arrays of a type hold text."""
        return np.dtype(dtype).kind in _TEXT_KINDS

    def text_key(self, array: "zarr.Array") -> None:
        """Return None: the text must be read to be compared."""

    def describe_array(self, array: "zarr.Array") -> StoredArray:
        """Return the description of an array by which its ranges are read."""
        self.arrays[array.path] = array
        return StoredArray.from_zarr(array)

    def check_written(self, array: "zarr.Array") -> None:
        """Raise if the files of an array cannot hold as many values as it claims."""
        check_written(array, f"{self.file}: {array.path}")

    def distinct_text(self, path: str) -> None:
        """Return None: the text must be read."""

    def known_values(self, path: str) -> None:
        """Return None: the list must be read."""

    def any_true(self, mask: "zarr.Array") -> None:
        """Return None: the mask must be read."""

    def last_value(self, array: "zarr.Array") -> int:
        """Return the last value of a vector of integers."""
        described = self.describe_array(array)
        if described.grid is not None:
            # Of what zarr leaves out all is 0, and row pointers rise: few are.
            check_declared(
                described.label,
                file_bytes=described.table.n_bytes,
                array_bytes=len(described) * described.dtype.itemsize,
                n_chunks=1,
                chunk_bytes=0,
                whole=True,
            )
        return int(described.read(len(described) - 1)[0])

    @contextmanager
    def reopen(self) -> "Iterator[ZarrTree]":
        """Return the store, opened again in the process that asks."""
        yield ZarrTree(reopen_group(self.root), self.file)

    def categories_of(self, codes: "zarr.Array") -> "zarr.Array":
        """Return the array of categories that codes of AnnData 0.7 name."""
        name = str(codes.attrs["categories"])
        inside = codes.path.removeprefix(self.root.path).strip("/")
        folder = inside.rpartition("/")[0]
        return self.dataset(f"{folder}/{name}")
