"""`Index`: what a collection of `.h5ad` files says of itself, saved in one file."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage.io.open_files import Identity
from ..paths import paths_of
from ..remote_data import is_remote
from .index_files import IndexContents, write_index

if TYPE_CHECKING:
    from .recording import Pool
    from .records import Records

__all__ = ["Index", "IndexChanges"]

Progress = Callable[[int, int], object]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class IndexChanges(NamedTuple):
    """What :meth:`Index.update` found.

    Parameters
    ----------
    read
        Files that had changed, and were read again.
    added, dropped
        Files that are new in the index, or are no more in it.
    """

    read: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]


class Index:
    """What a collection of `.h5ad` files says of itself.

    ``scd.open(index)`` opens thousands of files at once, without touching them: shapes,
    genes, labels, and where everything lies are in the index. All of `open`'s options
    work as they do without one. That a file has changed is found when it is first
    read, which raises :class:`~scdataset_core.FileChangedError`; :meth:`update` reads
    what has changed again.

    :meth:`build` and :meth:`load` make one. It holds plain numbers and text only: a
    file that is loaded runs no code.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> index = scd.Index.build("plates/*.h5ad")
    >>> index.save("plates.scdindex")
    >>> source = scd.open("plates.scdindex", obs=["drug"])
    >>> source.shape
    (1200, 300)
    """

    def __init__(self, records: "Records") -> None:
        from .recording import Pool

        self._records = records
        self._pool = Pool(records.lists)

    @classmethod
    def build(
        cls,
        files: "Paths",
        *,
        allow_external: bool = False,
        progress: Progress | None = None,
    ) -> "Index":
        """Return the index of files, after reading what each says of itself.

        Parameters
        ----------
        files
            A path, a glob (its matches sorted as strings), or a list of paths, whose
            order is kept.
        allow_external
            Whether to follow links and virtual data sets into other files. `open` then
            wants to be told so too.
        progress
            Called after each file with how many are done, and how many there are.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileFormatError
            If one is no `.h5ad` file, or was written by AnnData before 0.7.
        """
        from .records import Records

        index = cls(Records(IndexContents.empty()))
        index.update(files, allow_external=allow_external, progress=progress)
        return index

    @classmethod
    def load(cls, path: "str | os.PathLike[str]") -> "Index":
        """Return an index that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileFormatError
            If it is no index, or one of another version of this library.
        CorruptFileError
            If it is damaged.
        """
        from .records import Records

        return cls(Records.load(str(Path(path).absolute())))

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the index to a file, whole or not at all."""
        write_index(Path(path), self._records.contents)

    def update(
        self,
        files: "Paths | None" = None,
        *,
        allow_external: bool = False,
        progress: Progress | None = None,
    ) -> IndexChanges:
        """Read the files again that have changed, and those that are new.

        Parameters
        ----------
        files
            The files that the index is to have; None: those that it has, without those
            that are not there any more.
        allow_external, progress
            As for :meth:`build`.

        Returns
        -------
        changes
            Which files were read again, added and dropped.
        """
        if is_remote(files):
            raise FileFormatError(
                "an index holds .h5ad files on local disks; open URLs and objects in"
                " stores without one, and with cache= to know them the next time"
            )
        paths = paths_of(files) if files is not None else None
        if files is not None and paths is None:
            raise TypeError(
                "an index is of a path, a glob or a list of paths, got"
                f" {type(files).__name__}"
            )
        known = {path: number for number, path in enumerate(self.files)}
        if paths is None:
            paths = [path for path in known if Path(path).exists()]
        twice = len(paths) - len(set(paths))
        if twice:
            raise ValueError(f"{twice} of the files are named twice; name each once")
        made = _Making(self._records, self._pool)
        read: list[str] = []
        added: list[str] = []
        for done, path in enumerate(paths, 1):
            number = known.get(path)
            if number is not None and self._is_unchanged(path, number):
                made.keep(number)
            else:
                (added if number is None else read).append(path)
                made.add(path, allow_external=allow_external)
            if progress is not None:
                progress(done, len(paths))
        dropped = sorted(known.keys() - set(paths), key=known.__getitem__)
        self._records = made.finish()
        return IndexChanges(tuple(read), tuple(added), tuple(dropped))

    def _is_unchanged(self, path: str, number: int) -> bool:
        return Identity.of(path) == self._records.identity(number)

    @property
    def records(self) -> "Records":
        """What is known of the files, for the sources that are opened."""
        return self._records

    @property
    def files(self) -> tuple[str, ...]:
        """The files, as absolute paths, in the order of their cells."""
        return self._records.files

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Index of {len(self)} files"


class _Making:
    """Makes the records of files, some of them known before."""

    def __init__(self, before: "Records", pool: "Pool") -> None:
        self._before, self._pool = before, pool
        self._files: list[str] = []
        self._identities: list[Identity] = []
        self._skeleton_of: list[int] = []
        self._integers: list[npt.NDArray[np.int64]] = []
        texts = before.contents.skeleton_texts
        self._numbers = {text: number for number, text in enumerate(texts)}

    def keep(self, number: int) -> None:
        """Take the record of a file as it was."""
        before = self._before
        self._put(
            before.files[number],
            before.identity(number),
            int(before.contents.skeleton_of[number]),
            before.integers(number),
        )

    def add(self, path: str, *, allow_external: bool) -> None:
        """Record a file."""
        from .facts import find_facts
        from .hdf5_tree import Hdf5Tree, open_checked
        from .parsed_tree import ask_parsed
        from .recorded_tree import RecordedFile
        from .recording import record_file

        if Path(path).is_dir():
            raise FileFormatError(
                f"{path}: an index holds .h5ad files, and this is a folder; open a zarr"
                " store without an index, by its path"
            )
        identity = Identity.of(path)
        found = None
        if not allow_external:  # HDF5 follows links
            found = ask_parsed(path, lambda tree: record_file(tree, self._pool))
        if found is None:
            with open_checked(path, external=allow_external) as root:
                tree = Hdf5Tree(root, path, allow_external=allow_external)
                found = record_file(tree, self._pool)
        skeleton, own = found
        integers = np.array(own, np.int64)
        record = RecordedFile(path, identity, skeleton, integers, self._pool.lists)
        facts, more = find_facts(record, self._pool)
        text = json.dumps({**skeleton, "facts": facts}, sort_keys=True)
        number = self._numbers.setdefault(text, len(self._numbers))
        self._put(path, identity, number, np.array([*own, *more], np.int64))

    def _put(
        self,
        file: str,
        identity: Identity,
        skeleton: int,
        integers: npt.NDArray[np.int64],
    ) -> None:
        self._files.append(file)
        self._identities.append(identity)
        self._skeleton_of.append(skeleton)
        self._integers.append(integers)

    def finish(self) -> "Records":
        """Return the records."""
        from .records import Records

        identities = [
            (one.n_bytes, one.mtime_ns, one.ctime_ns) for one in self._identities
        ]
        return Records(
            IndexContents(
                self._files,
                np.array(identities, np.int64).reshape(-1, 3),
                np.array(self._skeleton_of, np.int64),
                np.array([len(own) for own in self._integers], np.int64),
                np.concatenate([np.empty(0, np.int64), *self._integers]),
                list(self._numbers),
                self._pool.lists,
            )
        )
