"""Makes the records of a collection: of files that are read, and of those known."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage.io.byte_sources import SourceIdentity
from ...storage.io.identities import Identity
from ...storage.remote.identity import ObjectIdentity
from ...storage.remote.object_store import ObjectStore
from ..options import OpenOptions
from .cell_files import locate_cells
from .facts import find_facts
from .hdf5_tree import Hdf5Tree, open_checked
from .index_files import IndexContents
from .parsed_tree import ask_parsed
from .recorded_arrays import RecordedFile
from .recorded_zarr import StoreIdentity, identify_store
from .recording import Pool, Record, record_file
from .records import Records

__all__ = ["RecordsMaker"]


class RecordsMaker:
    """Makes the records of files, some of them known before.

    Parameters
    ----------
    before
        What is known.
    pool
        Keeps the lists of all files; those of `before` are in it.
    store
        The store of files that are URLs; None: there are none.
    allow_external
        Whether to follow links into other files.

    """

    def __init__(
        self,
        before: Records,
        pool: Pool,
        store: ObjectStore | None,
        *,
        allow_external: bool,
    ) -> None:
        self._before, self._pool, self._store = before, pool, store
        self._allow_external = allow_external
        self._made: list[_Made] = []
        self._lacking: list[str] = []
        texts = before.contents.skeleton_texts
        self._numbers = {text: number for number, text in enumerate(texts)}

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user is warned of: zarr stores that may lack files of chunks."""
        from .zarr_completeness import describe_lacking

        return describe_lacking(list(dict.fromkeys(self._lacking)))

    def is_unchanged(self, number: int) -> bool:
        """Return whether a file is what it was when it was recorded."""
        path, was = self._before.files[number], self._before.identity(number)
        if isinstance(was, StoreIdentity):
            return identify_store(path, self._before.record(number).skeleton) == was
        return not Path(path).is_dir() and self._identify(path) == was

    def keep(self, number: int) -> None:
        """Take the record of a file as it was."""
        before = self._before
        self._made.append(
            (
                before.files[number],
                before.identity(number),
                int(before.contents.skeleton_of[number]),
                before.integers(number),
            )
        )

    def add(self, path: str) -> None:
        """Record a file."""
        is_folder = self._store_of(path) is None and Path(path).is_dir()
        identity = None if is_folder else self._identify(path)
        skeleton, own = self._read_store(path) if is_folder else self._read(path)
        if identity is None:
            identity = identify_store(path, skeleton)
        integers = np.array(own, np.int64)
        record = RecordedFile(
            path, identity, skeleton, integers, self._pool.lists, self._store_of(path)
        )
        facts, more = find_facts(record, self._pool)
        if is_folder:
            self._check_whole(path, facts["x"])
        text = json.dumps({**skeleton, "facts": facts}, sort_keys=True)
        number = self._numbers.setdefault(text, len(self._numbers))
        self._made.append((path, identity, number, np.array([*own, *more], np.int64)))

    def _store_of(self, path: str) -> ObjectStore | None:
        store = self._store
        return store if store is not None and store.holds(path) else None

    def _identify(self, path: str) -> SourceIdentity:
        store = self._store_of(path)
        return Identity.of(path) if store is None else store.identify(path)

    def _read(self, path: str) -> Record:
        store, external = self._store_of(path), self._allow_external
        if store is None and zipfile.is_zipfile(path):
            raise FileFormatError(
                f"{path}: a zip file, and an index holds zarr stores that are folders;"
                " unpack it, or open it without an index"
            )
        if store is None and not external:  # HDF5 follows links
            found = ask_parsed(path, lambda tree: record_file(tree, self._pool))
            if found is not None:
                return found
        with open_checked(path, store, external=external) as root:
            tree = Hdf5Tree(root, path, allow_external=external, store=store)
            return record_file(tree, self._pool)

    def _read_store(self, path: str) -> Record:
        from .zarr_sources import open_store
        from .zarr_tree import ZarrTree

        return record_file(ZarrTree(open_store(path), path), self._pool)

    def _check_whole(self, path: str, matrices: Iterable[str]) -> None:
        """Raise if files of a store are surely missing; note those that may be."""
        from .zarr_completeness import check_whole
        from .zarr_sources import open_store
        from .zarr_tree import ZarrTree

        tree = ZarrTree(open_store(path), path)
        for x in matrices:
            part = locate_cells(tree, OpenOptions(x=x, obs=True, obs_names=True))
            self._lacking += check_whole(part, tree)

    def finish(self) -> Records:
        """Return the records, of the files in the order in which they were given."""
        made = self._made
        identities = [_numbers_of(identity) for _, identity, _, _ in made]
        versions = [_version_of(identity) for _, identity, _, _ in made]
        integers = [own for _, _, _, own in made]
        return Records(
            IndexContents(
                [file for file, _, _, _ in made],
                np.array(identities, np.int64).reshape(-1, 3),
                np.array([skeleton for _, _, skeleton, _ in made], np.int64),
                np.array([len(own) for own in integers], np.int64),
                np.concatenate([np.empty(0, np.int64), *integers]),
                list(self._numbers),
                self._pool.lists,
                versions if any(versions) else [],
            )
        )


# A file: its path, what it was, the number of its skeleton, and its integers.
_Made = tuple[str, SourceIdentity, int, npt.NDArray[np.int64]]


def _numbers_of(identity: SourceIdentity) -> tuple[int, int, int]:
    if isinstance(identity, Identity):
        return identity.n_bytes, identity.mtime_ns, identity.ctime_ns
    return identity.n_bytes, 0, 0


def _version_of(identity: SourceIdentity) -> tuple[str | None, str | None] | None:
    if isinstance(identity, ObjectIdentity):
        return identity.etag, identity.modified
    if isinstance(identity, StoreIdentity):
        return identity.version, None
    return None
