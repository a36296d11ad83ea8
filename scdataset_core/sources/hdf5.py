"""Finding things in an HDF5 file without following links out of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError, ScdatasetError
from ..storage import StoredArray
from .text import decoded

if TYPE_CHECKING:
    import h5py

__all__ = ["Tree", "is_hdf5", "is_text", "opened", "text_of"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_USER_BLOCK = 1 << 26

# What h5py raises, and what values of impossible types lead to, in damaged files.
_DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    OverflowError,
    UnicodeDecodeError,
)


def is_hdf5(path: str) -> bool:
    """Return whether a file has HDF5's signature, at its head or after a user block."""
    with Path(path).open("rb") as file:
        size, at = file.seek(0, 2), 0
        while at + len(_SIGNATURE) <= size and at <= _MAX_USER_BLOCK:
            file.seek(at)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            at = at * 2 or 512
    return False


@contextlib.contextmanager
def opened(path: str) -> Iterator["h5py.File"]:
    """Open a file with h5py for reading; an error names the file."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileFormatError(
            f"{path}: HDF5 cannot open it: {error}; if it was cut short, copy or"
            " download it again"
        ) from error
    with file:
        if file.mode != "r":
            raise FileFormatError(
                f"{path} is open for writing in this process, and may change while it"
                " is read; close it (adata.file.close()), or open the object itself:"
                " scdataset_core.open(adata)"
            )
        try:
            yield file
        except ScdatasetError:
            raise
        except _DAMAGE as error:
            raise FileFormatError(
                f"{path}: HDF5 cannot read it: {error}; the file is damaged or was cut"
                " short, restore it from its origin"
            ) from error


class Tree:
    """The groups and data sets of an HDF5 file, found by path.

    Parameters
    ----------
    root
        The open file, or a group of it that stands for one.
    file
        Its name, for errors.
    allow_external
        Whether links and virtual data sets may lead to other files.
    """

    def __init__(self, root: "h5py.Group", file: str, *, allow_external: bool) -> None:
        self.format = "h5ad"
        self.root = root
        self.file = file
        self.allow_external = allow_external

    def find(self, path: str) -> "h5py.Group | h5py.Dataset | None":
        """Return what lies at `path`, or None."""
        import h5py

        found: Any = self.root
        for name in path.split("/"):
            if not isinstance(found, h5py.Group):
                return None
            link = found.get(name, getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink) and not self.allow_external:
                raise FileFormatError(
                    f"{self.file}: {path} is a link to {link.filename};"
                    " open(..., allow_external=True) follows it"
                )
            try:
                found = found[name]
            except (KeyError, OSError) as error:
                raise FileFormatError(
                    f"{self.file}: {path} cannot be opened: {error}"
                ) from error
        if isinstance(found, h5py.Dataset):
            self.check_inside(found)
        return found if isinstance(found, h5py.Group | h5py.Dataset) else None

    def check_inside(self, dataset: "h5py.Dataset") -> None:
        """Refuse a data set whose bytes lie in other files, unless that is allowed."""
        if self.allow_external:
            return
        if dataset.is_virtual:
            raise FileFormatError(
                f"{self.file}: {dataset.name} is a virtual data set, made of others;"
                " open(..., allow_external=True) reads it"
            )
        if dataset.external:
            raise FileFormatError(
                f"{self.file}: {dataset.name} keeps its bytes in"
                f" {dataset.external[0][0]}; open(..., allow_external=True) reads it"
            )

    def group(self, path: str) -> "h5py.Group | None":
        """Return the group at `path`, or None."""
        import h5py

        found = self.find(path)
        return found if isinstance(found, h5py.Group) else None

    def dataset(self, path: str) -> "h5py.Dataset":
        """Return the data set at `path`; an error if there is none."""
        found = self.find(path)
        if not self.is_array(found):
            what = "is missing" if found is None else "is a group, not a data set"
            raise FileFormatError(f"{self.file}: {path} {what}")
        return found

    def is_array(self, node: "h5py.Group | h5py.Dataset | None") -> bool:
        """Return whether what was found is a data set."""
        import h5py

        return isinstance(node, h5py.Dataset)

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether data sets of a type hold text."""
        return is_text(dtype)

    def stored(self, array: "h5py.Dataset") -> StoredArray:
        """Return a data set to be read by ranges."""
        return StoredArray.from_hdf5(array)

    def categories_of(self, codes: "h5py.Dataset") -> "h5py.Dataset":
        """Return the data set that AnnData 0.7's codes refer to."""
        import h5py

        found = codes.parent[codes.attrs["categories"]]
        if not isinstance(found, h5py.Dataset):
            raise FileFormatError(
                f"{self.file}: the categories of {codes.name} are no data set"
            )
        self.check_inside(found)
        return found


def is_text(dtype: np.dtype[Any]) -> bool:
    """Return whether an HDF5 type is text of fixed or variable length."""
    import h5py

    return h5py.check_string_dtype(dtype) is not None


def text_of(dataset: "h5py.Dataset") -> list[str]:
    """Return all of a small data set of text."""
    return decoded(np.atleast_1d(np.asarray(dataset[()], object)), str(dataset.name))
