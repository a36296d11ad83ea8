"""`Index`: what a collection of `.h5ad` files says of itself, saved in one file."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import FileFormatError, ObjectMissingError
from ..paths import paths_of
from ..remote_data import find_remote, is_remote, store_of_urls
from .index_files import IndexContents, write_index

if TYPE_CHECKING:
    from ...storage.remote.object_store import ObjectStore
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

    :meth:`build` and :meth:`load` make one, and ``Index()`` one of no files. It holds
    plain numbers and text only: a file that is loaded runs no code.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> index = scd.Index.build("plates/*.h5ad")
    >>> index.save("plates.scdindex")
    >>> source = scd.open("plates.scdindex", obs=["drug"])
    >>> source.shape
    (1200, 300)
    """

    def __init__(self, records: "Records | None" = None) -> None:
        from .recording import Pool
        from .records import Records

        self._records = Records(IndexContents.empty()) if records is None else records
        self._pool = Pool(self._records.lists)

    @classmethod
    def build(
        cls,
        files: "Paths",
        *,
        allow_external: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> "Index":
        """Return the index of files, after reading what each says of itself.

        Parameters
        ----------
        files
            A path, a glob (its matches sorted as strings), or a list of paths, whose
            order is kept; URLs stand in place of paths, see `open`.
        allow_external
            Whether to follow links and virtual data sets into other files. `open` then
            wants to be told so too.
        storage_options
            How URLs are reached, see `open`. They are not saved, and `open` wants them
            too.
        progress
            Called after each file with how many are done, and how many there are.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileFormatError
            If one is no `.h5ad` file, or was written by AnnData before 0.7.
        """
        index = cls()
        index.update(
            files,
            allow_external=allow_external,
            storage_options=storage_options,
            progress=progress,
        )
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
        storage_options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> IndexChanges:
        """Read the files again that have changed, and those that are new.

        If a file is in error, or the user interrupts it, the index has what was read
        so far besides the files that it had, and the next call goes on from there.

        Parameters
        ----------
        files
            The files that the index is to have; None: those that it has, without those
            that are not there any more.
        allow_external, storage_options, progress
            As for :meth:`build`.

        Returns
        -------
        changes
            Which files were read again, added and dropped.
        """
        from .record_making import RecordsMaker

        paths, store = self._find(files, storage_options)
        twice = len(paths) - len(set(paths))
        if twice:
            raise ValueError(f"{twice} of the files are named twice; name each once")
        known = {path: number for number, path in enumerate(self.files)}
        made = RecordsMaker(
            self._records, self._pool, store, allow_external=allow_external
        )
        read: list[str] = []
        added: list[str] = []
        left = dict(known)
        try:
            for done, path in enumerate(paths, 1):
                number = known.get(path)
                if number is not None and made.is_unchanged(number):
                    made.keep(number)
                else:
                    made.add(path)
                    (added if number is None else read).append(path)
                left.pop(path, None)
                if progress is not None:
                    progress(done, len(paths))
        except BaseException:
            for number in left.values():
                made.keep(number)
            self._records = made.finish()
            raise
        self._records = made.finish()
        for notice in made.notices:
            warnings.warn(notice, stacklevel=2)
        return IndexChanges(tuple(read), tuple(added), tuple(left))

    def _find(
        self, files: "Paths | None", storage_options: Mapping[str, Any] | None
    ) -> "tuple[list[str], ObjectStore | None]":
        """Return the paths of files, and the store of those that are URLs."""
        if files is None:
            store = store_of_urls(self.files, storage_options)
            return [path for path in self.files if _is_there(path, store)], store
        if is_remote(files):
            found = find_remote(files, storage_options)
            if not found.store.is_of_plain_urls:
                raise FileFormatError(
                    "an index names its files: it holds local files, and URLs without"
                    " anything secret; give credentials as storage_options, and URLs in"
                    " place of stores and file objects"
                )
            return found
        paths = paths_of(files)
        if paths is None:
            raise TypeError(
                "an index is of a path, a glob or a list of paths, got"
                f" {type(files).__name__}"
            )
        return [inner for path in paths for inner in _stores_in(path)], None

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


def _stores_in(path: str) -> list[str]:
    """Return the folders of a zarr store: of a collection of annbatch, its members."""
    if not Path(path).is_dir():
        return [path]
    from .zarr_sources import list_groups

    return list_groups(path)


def _is_there(path: str, store: "ObjectStore | None") -> bool:
    if store is None or not store.holds(path):
        return Path(path).exists()
    try:
        store.identify(path)
    except ObjectMissingError:
        return False
    return True
