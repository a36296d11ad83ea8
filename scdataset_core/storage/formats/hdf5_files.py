"""Opens HDF5 files, and finds the other files that their data sets lead to."""

import os
import sys
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import FileChangedError, FileFormatError
from ..io.byte_sources import SourceIdentity
from ..io.identities import Identity
from ..io.open_files import check_plain, open_and_make_room
from ..remote.block_reader import keep_blocks
from ..remote.object_store import ObjectStore
from .hdf5_reads import CheckedObject, open_through_checks, reads_of

if TYPE_CHECKING:
    import h5py

__all__ = [
    "FileFacts",
    "ObjectPlace",
    "check_link",
    "check_path",
    "counts_user_block",
    "file_facts",
    "find_outside_files",
    "is_about_locks",
    "is_plain",
    "is_written_here",
    "open_hdf5",
    "place_of",
]

# Drivers whose files are what lies at their path, byte for byte.
_PLAIN_DRIVERS = {"sec2", "stdio", "windows", "direct"}


def open_hdf5(
    path: str, store: ObjectStore | None = None, *, external: bool = False
) -> "h5py.File":
    """Open a file with h5py for reading, without HDF5's lock where it cannot be had.

    A lock keeps writers of other processes out. Nothing here relies on it: the size and
    time of a file show whether it changed.

    Parameters
    ----------
    path
        The file, or the name of an object.
    store
        The store that the object is in; None: it is a local file.
    external
        Whether HDF5 may be led to other files. It opens those as it opened this one:
        by its own driver, and not through :mod:`.hdf5_reads`.
    """
    if store is not None:
        return _open_object(path, store)
    return open_and_make_room(partial(_open_file, path, external=external), path)


def _open_file(path: str, *, external: bool) -> "h5py.File":
    file = _open_directly(path)
    # A handle that this process writes by is the caller's to refuse.
    if external or file.mode != "r" or file.driver != "sec2" or not _has_heaps(file):
        return file
    with file:
        return open_through_checks(path)


def _has_heaps(file: "h5py.File") -> bool:
    """Return whether heaps of strings are laid out as is checked."""
    return bool(file.id.get_create_plist().get_sizes() == (8, 8))


def _open_object(name: str, store: ObjectStore) -> "h5py.File":
    import h5py

    reader = store.open_reader(name)
    try:
        file = h5py.File(reader, "r")
        if not _has_heaps(file):
            return file
        with file:
            return h5py.File(CheckedObject(reader, name), "r")
    except OSError:
        if reader.failure is None:
            raise
    finally:
        keep_blocks()
    raise reader.failure


def _open_directly(path: str) -> "h5py.File":
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        # Held by a writer, unknown to the file system (NFS, Lustre), or asked for in
        # another way by whoever has the file open in this process.
        if not is_about_locks(error):
            raise
    return h5py.File(path, "r", locking=False)


def is_plain(file: "h5py.File") -> bool:
    """Return whether a file is what lies at its path, byte for byte, and read only."""
    plain = file.driver in _PLAIN_DRIVERS or reads_of(file) is not None
    return bool(plain and file.mode == "r")


def is_written_here() -> bool:
    """Return whether this process has any HDF5 file open for writing."""
    if "h5py" not in sys.modules:
        return False
    from h5py import h5f

    found = h5f.get_obj_ids(h5f.OBJ_ALL, h5f.OBJ_FILE)
    try:
        return any(file.get_intent() & h5f.ACC_RDWR for file in found)
    except (ValueError, RuntimeError):  # another thread has just closed one
        return True


def is_about_locks(error: OSError) -> bool:
    """Return whether HDF5 says that it could not lock a file."""
    return any(text in str(error) for text in ("unable to lock file", "file locking"))


def check_path(
    file: "h5py.File",
    path: str,
    *,
    again: str = "open it again, by its absolute path",
) -> None:
    """Raise if `path` is no longer the file that a handle has open.

    A relative path means another file after a change of directory, and a file may have
    been replaced.

    Parameters
    ----------
    file
        The handle.
    path
        Where its file should be.
    again
        What the error tells the user to do.
    """
    reads = reads_of(file)
    if reads is None and file.driver != "sec2":
        return
    was = os.fstat(file.id.get_vfd_handle()) if reads is None else reads.status()
    try:
        now = Path(path).stat()
    except FileNotFoundError:
        now = None
    if now is None or (was.st_dev, was.st_ino) != (now.st_dev, now.st_ino):
        how = "removed" if now is None else "replaced"
        raise FileChangedError(
            f"{path} was {how} since it was opened, or was opened by a relative path"
            f" and the directory was changed; {again}"
        )


class ObjectPlace(NamedTuple):
    """Tells objects of open files apart: number of the file, address in it."""

    file: int
    address: int


def place_of(node: "h5py.Group | h5py.Dataset", name: str = ".") -> ObjectPlace | None:
    """Return the place of an object, or of what its file has by an absolute name.

    None where HDF5 cannot say.
    """
    from h5py import h5g

    try:
        found = h5g.get_objinfo(node.id, name.encode())
    except (KeyError, RuntimeError, ValueError, UnicodeEncodeError):
        return None
    low, high = found.objno
    return ObjectPlace(int(found.fileno[0]), int(low) | int(high) << 64)


class FileFacts(NamedTuple):
    """What describing the data sets of an open file asks of the file.

    Parameters
    ----------
    path
        Its absolute path.
    identity
        What it was when it was first asked for; None for a file that only its handle
        can see, or that is open for writing.
    has_user_block
        Whether addresses in it count from the end of a user block.
    """

    path: str
    identity: SourceIdentity | None
    has_user_block: bool


# The file that was asked for last, by the number that HDF5 gives it once. Reading a
# file asks for the same one some ten times, and h5py takes 50 us for an answer.
_latest: tuple[int, FileFacts] | None = None


def file_facts(node: "h5py.Group | h5py.Dataset") -> FileFacts:
    """Return the facts of the file of an open object.

    Raises
    ------
    FileChangedError
        If its path does not lead to it.
    """
    global _latest
    place, latest = place_of(node), _latest
    if place is not None and latest is not None and latest[0] == place.file:
        return latest[1]
    file = node.file
    path = str(Path(file.filename).absolute())
    if not is_plain(file):
        return FileFacts(path, None, False)
    check_path(file, path)
    facts = FileFacts(path, Identity.of(path), bool(file.userblock_size))
    if place is not None:
        _latest = (place.file, facts)
    return facts


def find_outside_files(dataset: "h5py.Dataset") -> tuple[tuple[str, Identity], ...]:
    """Return the files besides its own that hold the bytes of a dataset.

    Raises
    ------
    FileFormatError
        If one is not there or is too short: HDF5 would give fill values for it.
    """
    if dataset.is_virtual:
        paths = _find_virtual_sources(dataset)
    else:
        paths = [_find_raw_part(dataset, *part) for part in dataset.external or ()]
    return tuple((path, Identity.of(path)) for path in dict.fromkeys(paths))


def _find_virtual_sources(dataset: "h5py.Dataset") -> list[str]:
    own = Path(dataset.file.filename).absolute()
    paths = []
    for source in dataset.virtual_sources():
        if "%" in source.file_name or "%" in source.dset_name:
            continue  # a pattern, of files of which any may be absent
        if source.file_name == ".":
            there = source.dset_name in dataset.file
            path: Path | None = own
        else:
            path = _find_beside(own, source.file_name, "HDF5_VDS_PREFIX")
            there = path is not None and _holds(path, source.dset_name)
        if not there or path is None:
            raise FileFormatError(
                f"{own}: the virtual data set {dataset.name} is made of"
                f" {source.dset_name} in {source.file_name}, which is not there, and"
                " HDF5 would give fill values for it; bring it to where it was"
            )
        if path != own:
            paths.append(str(path))
    return paths


def _find_beside(own: Path, name: str, prefix: str) -> Path | None:
    """Return where a file lies whose name is relative to the folder of another."""
    return next(filter(Path.is_file, _places(own, name, prefix)), None)


def _places(own: Path, name: str, prefix: str) -> list[Path]:
    """Return where HDF5 looks for such a file."""
    given = Path(name)
    folders = [*filter(None, [os.environ.get(prefix)]), str(own.parent)]
    places = [given] if given.is_absolute() else []
    places += [Path(folder, name).absolute() for folder in folders]
    return [*places, own.parent / given.name]


def check_link(file: str, link: "h5py.ExternalLink") -> None:
    """Raise if a link of a file leads to a pipe, which HDF5 would wait for.

    Raises
    ------
    FileFormatError
        If it does.
    """
    for place in _places(Path(file).absolute(), link.filename, "HDF5_EXT_PREFIX"):
        check_plain(str(place))
    check_plain(link.filename)  # from the current directory, at last


def _holds(path: Path, name: str) -> bool:
    try:
        with open_hdf5(str(path)) as file:
            return name in file
    except OSError:
        return False


def _find_raw_part(dataset: "h5py.Dataset", name: str, offset: int, size: int) -> str:
    """Return the path of a file that holds a part of a dataset as it is."""
    # HDF5 takes such names from the current directory, not from the file's.
    path = Path(os.environ.get("HDF5_EXTFILE_PREFIX", ""), name).absolute()
    n_bytes = min(int(size), int(dataset.nbytes))  # the last part may be unlimited
    if not path.is_file() or path.stat().st_size < offset + n_bytes:
        what = "is too short" if path.is_file() else "is not there"
        raise FileFormatError(
            f"{dataset.file.filename}: {dataset.name} keeps its bytes in {path}, which"
            f" {what}; HDF5 takes relative names from the current directory"
        )
    return str(path)


@lru_cache
def counts_user_block() -> tuple[bool, bool]:
    """Return whether offsets of chunks, and of whole data, count the user block.

    Releases of HDF5 differ, so this function tries it out on a small file in memory.
    """
    import h5py

    mark = np.frombuffer(b"scdataset mark!!", np.uint8)
    held = BytesIO()  # there may be no folder to write to
    with h5py.File(held, "w", userblock_size=512) as file:
        file.create_dataset("chunked", data=mark, chunks=mark.shape)
        file.create_dataset("whole", data=mark + 1)
    contents = held.getvalue()
    with h5py.File(held, "r") as file:
        found: list[int] = []
        file["chunked"].id.chunk_iter(lambda chunk: found.append(chunk.byte_offset))
        offset = file["whole"].id.get_offset()
    return (
        contents.find(mark.tobytes()) == found[0],
        contents.find((mark + 1).astype(np.uint8).tobytes()) == offset,
    )
