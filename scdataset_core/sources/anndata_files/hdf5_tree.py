"""The groups and data sets of an HDF5 file, found without leaving the file."""

import contextlib
import errno
import os
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError, ScdatasetError
from ...storage import StoredArray
from ...storage.formats.declared_sizes import check_distinct
from ...storage.formats.hdf5_files import (
    check_link,
    file_facts,
    is_about_locks,
    open_hdf5,
)
from ...storage.io.byte_sources import SourceIdentity
from ...storage.io.identities import check_unchanged
from ...storage.io.open_files import is_of_system
from ...storage.remote.block_reader import keep_blocks
from ...storage.remote.object_store import ObjectStore
from ...storage.text_keys import text_key
from ..obs.text import decode_attribute

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Tree", "is_text", "open_checked", "reopen_unchanged"]

_MOST_LINKS = 16  # in one look-up; HDF5 follows as many

# Limits and disks, which say nothing of the file.
_OF_THIS_PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)

# These are raised by h5py, and by values of impossible types, in damaged files.
_DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    OverflowError,
    UnicodeError,
)


@contextlib.contextmanager
def open_checked(
    path: str, store: ObjectStore | None = None, *, external: bool = False
) -> Iterator["h5py.File"]:
    """Open a file with h5py for reading; errors name the file.

    Parameters
    ----------
    path
        The file, or the name of an object.
    store
        The store that the object is in; None: it is a local file.
    external
        Whether HDF5 may be led to other files.
    """
    try:
        file = open_hdf5(path, store, external=external)
    except (FileNotFoundError, ScdatasetError):
        raise
    except OSError as error:
        if error.errno in _OF_THIS_PROCESS:
            raise
        raise FileFormatError(
            f"{path}: HDF5 cannot open it: {error}; {_way_out(error)}"
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
            if is_of_system(error):
                raise
            raise FileFormatError(
                f"{path}: HDF5 cannot read it: {error}; the file is damaged or was cut"
                " short, restore it from its origin"
            ) from error
        finally:
            keep_blocks()


@contextlib.contextmanager
def reopen_unchanged(
    path: str, identity: SourceIdentity, *, external: bool
) -> Iterator["h5py.File"]:
    """Open a file again, which must be what it was."""
    check_unchanged(path, identity)
    with open_checked(path, external=external) as file:
        yield file


def _way_out(error: OSError) -> str:
    """Return the advice for a file that HDF5 cannot open."""
    if is_about_locks(error):
        return "it is locked: set the environment variable HDF5_USE_FILE_LOCKING=FALSE"
    if "already open" in str(error) or "consistency flags" in str(error):
        return (
            "a program writes to it, or was stopped while it did: wait until it is"
            " closed, or clear the mark with h5clear -s"
        )
    if isinstance(error, PermissionError):
        return "you may not read it: its owner can change that"
    return "if it was cut short, copy or download it again"


class Hdf5Tree:
    """The groups and data sets of an HDF5 file, found by path.

    This class follows links itself, in place of HDF5, so that each leads only where
    the user allows, and each data set has the name by which its own file knows it.

    Parameters
    ----------
    root
        The open file, or a group of it that stands for one.
    file
        Its name, for errors.
    allow_external
        Whether links and virtual data sets may lead to other files.
    store
        The store that the file is in, under its name; None: it is a local file.
    """

    def __init__(
        self,
        root: "h5py.Group",
        file: str,
        *,
        allow_external: bool,
        store: ObjectStore | None = None,
    ) -> None:
        self.format = "h5ad"
        self.root: Any = root  # h5py.Group; None once it is let go of
        self.file = file
        self.allow_external = allow_external
        self.store = store
        self._known: dict[str, h5py.Group | h5py.Dataset | None] = {}
        self._pid = os.getpid()
        # A file that only its handle can see cannot be opened again.
        facts = file_facts(root)
        self._place = (
            None
            if facts.identity is None
            else (facts.path, str(root.name), facts.identity)
        )
        self._name_in_file = str(root.name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "root": None, "_known": {}}

    @contextlib.contextmanager
    def reopen(self) -> "Iterator[Hdf5Tree]":
        """Return the file, open, at any later time and in any process."""
        if self.root and self._pid == os.getpid():
            yield self
            return
        external = self.allow_external
        if self.store is not None:
            with open_checked(self.file, self.store) as root:
                yield Hdf5Tree(
                    root[self._name_in_file],
                    self.file,
                    allow_external=external,
                    store=self.store,
                )
            return
        if self._place is None:
            raise FileFormatError(
                f"{self.file}: the handle it was opened by is closed, or of another"
                " process; open its path"
            )
        path, name, identity = self._place
        with reopen_unchanged(path, identity, external=external) as file:
            yield Hdf5Tree(file[name], self.file, allow_external=external)

    def find(self, path: str) -> "h5py.Group | h5py.Dataset | None":
        """Return the group or data set at `path`, or None."""
        if path not in self._known:
            folder, _, name = path.rpartition("/")
            start = self.find(folder) if folder else self.root
            found = None if start is None else self._found(start, name, path)
            self._known[path] = found
        return self._known[path]

    def forget(self) -> None:
        """Let go of what was found; :meth:`reopen` opens the file again."""
        self._known = {}
        if self._place is not None or self.store is not None:
            self.root = None

    def _found(
        self,
        start: "h5py.Group",
        path: str,
        asked: str,
        links: Iterator[int] | None = None,
    ) -> "h5py.Group | h5py.Dataset | None":
        """Return what lies at a path from a group on, or None.

        `links` numbers the links that are followed: a look-up, with all that it leads
        to, has one. Links that lead to several others each would else be followed for
        ever.
        """
        import h5py

        links = count() if links is None else links
        found: Any = start
        for name in path.split("/"):
            if name in ("", "."):  # as HDF5 reads paths
                continue
            if not isinstance(found, h5py.Group):
                return None
            found = self._member(found, name, asked, links)
        if isinstance(found, h5py.Dataset):
            self.check_inside(found)
        return found if isinstance(found, h5py.Group | h5py.Dataset) else None

    def _member(
        self, group: "h5py.Group", name: str, asked: str, links: Iterator[int]
    ) -> Any:
        """Return a member of a group, after following every link on the way."""
        import h5py

        try:
            link = group.get(name, getlink=True)
        except TypeError as error:
            raise self._not_there(asked, f"a link of unknown kind: {error}") from error
        except UnicodeEncodeError:  # bytes that are no UTF-8 name nothing
            return None
        if link is None:
            return None
        is_soft = isinstance(link, h5py.SoftLink)
        if (is_soft or isinstance(link, h5py.ExternalLink)) and (
            next(links) >= _MOST_LINKS
        ):
            raise self._not_there(
                asked, "a link that leads to itself, or to too many others"
            )
        if is_soft:
            start = group.file["/"] if link.path.startswith("/") else group
            found = self._found(start, link.path, asked, links)
            if found is None:
                raise self._not_there(
                    asked, f"a link to {link.path}, and nothing is there"
                )
            return found
        if isinstance(link, h5py.ExternalLink) and not self.allow_external:
            raise FileFormatError(
                f"{self.file}: {asked} is a link to {link.filename}, or leads through"
                " one; open(..., allow_external=True) follows it"
            )
        if isinstance(link, h5py.ExternalLink):
            check_link(group.file.filename, link)
        try:
            found = group[name]
        except (KeyError, OSError) as error:
            raise FileFormatError(
                f"{self.file}: {asked} cannot be opened: {error}"
            ) from error
        if not isinstance(link, h5py.ExternalLink):
            return found
        # It is looked up from the other file's root, by the name it has there: HDF5
        # names it by the way it was reached.
        own = self._found(found.file["/"], link.path, asked, links)
        if own is None or own != found:
            raise self._not_there(
                asked, f"a link to {link.filename}, which leads on to another file"
            )
        return own

    def _not_there(self, asked: str, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self.file}: {asked} is, or leads through, {what}; link to the data set"
            " itself, or copy it into the file"
        )

    def check_inside(self, dataset: "h5py.Dataset") -> None:
        """Raise if a data set keeps its bytes in other files and may not."""
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

    def text_key(self, array: "h5py.Dataset") -> bytes | None:
        """Return bytes that only an equal text has, None where there are none."""
        if self.store is not None or array.dtype.kind != "O":
            return None
        return text_key(array)

    def describe_array(self, array: "h5py.Dataset") -> StoredArray:
        """Return the description of a data set by which its ranges are read."""
        # Writers may leave out chunks of dense rows that hold nothing but zeros. A
        # vector (one entry for each cell or stored value) is written whole.
        place = None if self.store is None else (self.file, self.store)
        return StoredArray.from_hdf5(array, whole=array.ndim == 1, place=place)

    def check_written(self, array: "h5py.Dataset") -> None:
        """Raise if there are more different values than the file has room for."""
        identity = file_facts(array).identity
        if identity is not None and not (array.is_virtual or array.external):
            where = f"{self.file}: {array.name}"
            check_distinct(where, n=array.size or 0, file_bytes=identity.n_bytes)

    def distinct_text(self, path: str) -> None:
        """Return None: the text must be read."""

    def known_values(self, path: str) -> None:
        """Return None: the list must be read."""

    def any_true(self, mask: "h5py.Dataset") -> None:
        """Return None: the mask must be read."""

    def last_value(self, array: "h5py.Dataset") -> int:
        """Return the last value of a vector of integers."""
        # The open handle is used, so that the file is not opened once more for this.
        return int(array[-1])

    @property
    def path(self) -> str:
        """The absolute path of the file; "" where only its handle can see it."""
        return "" if self._place is None else self._place[0]

    def categories_of(self, codes: "h5py.Dataset") -> "h5py.Dataset":
        """Return the data set of categories that codes of AnnData 0.7 refer to."""
        import h5py

        named = codes.attrs["categories"]
        if isinstance(named, h5py.Reference):  # within the file, always
            try:
                found = codes.file[named]
            except (ValueError, KeyError) as error:
                raise FileFormatError(
                    f"{self.file}: the categories of {codes.name} are not there:"
                    f" {error}"
                ) from error
            if isinstance(found, h5py.Dataset):
                self.check_inside(found)
        else:
            path = decode_attribute(named)
            start = codes.file["/"] if path.startswith("/") else codes.parent
            found = self._found(start, path, f"{codes.name}: categories")
        if not isinstance(found, h5py.Dataset):
            raise FileFormatError(
                f"{self.file}: the categories of {codes.name} are no data set"
            )
        return found


def is_text(dtype: np.dtype[Any]) -> bool:
    """Return whether an HDF5 type is text of fixed or variable length."""
    import h5py

    return h5py.check_string_dtype(dtype) is not None
