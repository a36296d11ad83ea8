"""Opens files or an object, and opens them again for obs columns that were left out."""

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileChangedError
from ..storage.io.identities import Identity, check_unchanged
from .base import Source
from .combined.side_by_side import open_arrays
from .fingerprints import fingerprint
from .formats import open_files, open_object
from .options import OpenOptions

__all__ = ["Opening", "Reopening"]

_MOST_OPENED = 4  # sources that are kept; each may hold its small columns


@dataclass(frozen=True)
class Opening:
    """What :func:`scdataset_core.open` was asked to open.

    Parameters
    ----------
    paths
        The files; None for an object.
    obj
        The object. Any: whatever `open` takes.
    x
        The names of several matrices; None where X is the one of the options.
    """

    paths: list[str] | None
    obj: Any
    x: Sequence[str] | None

    def open(self, options: OpenOptions) -> Source:
        """Return the source.

        Raises
        ------
        MemoryError
            If names and labels do not fit in memory; it names the data.
        """
        try:
            if self.x is None:
                return self._open_one(options)
            return open_arrays(self.x, options, self._open_one)
        except MemoryError as error:
            what = type(self.obj).__name__ if self.paths is None else self.paths[0]
            raise MemoryError(
                f"{what}: what it says of its cells and genes does not fit in memory:"
                f" {str(error) or 'there is no more'}; open fewer obs columns, raise"
                " the limit (ulimit -v), or, if it is small, restore it: it is damaged"
            ) from error

    def _open_one(self, options: OpenOptions) -> Source:
        if self.paths is None:
            return open_object(self.obj, options)
        return open_files(self.paths, options)


class Reopening:
    """Gives sources of the same cells that carry other obs columns.

    An object in memory does not go along when a source is pickled: its columns can be
    read in the process that opened it.

    Parameters
    ----------
    opening
        What was opened.
    options
        The options it was opened with.
    files
        The files of the source.
    """

    def __init__(
        self, opening: Opening, options: OpenOptions, files: Sequence[str]
    ) -> None:
        self._opening = opening
        self._options = replace(options, categories=None, obs_names=False, cache=None)
        self._identities = find_identities(files)
        self._opened: list[Source] = []

    def __getstate__(self) -> dict[str, Any]:
        opening = replace(self._opening, obj=None)
        return {**vars(self), "_opened": [], "_opening": opening}

    def __call__(self, source: Source, names: Sequence[str]) -> Source | None:
        """Return a source of the same cells that carries the columns `names`.

        The latest few are kept. The result is None if the object is not there.

        Parameters
        ----------
        source
            The source as it was opened.
        names
            Columns that it does not carry.

        Raises
        ------
        MissingNameError
            If there is no such column.
        FileChangedError
            If the data is not what it was.
        """
        if self._opening.paths is None and self._opening.obj is None:
            return None
        for again in self._opened:
            if set(names) <= set(again.obs_columns):
                return again
        again = self._open(source, names)
        self._opened = [again, *self._opened][:_MOST_OPENED]
        return again

    def with_all_genes(self) -> Source | None:
        """Return a source of the same cells that no genes were chosen for.

        It is None where none were chosen at first, or the object is not there.
        """
        is_gone = self._opening.paths is None and self._opening.obj is None
        if self._options.genes is None or is_gone:
            return None
        return self._opening.open(replace(self._options, genes=None, obs=()))

    def find_recipe(self, source: Source) -> str | None:
        """Return a digest of the files as they are now, and of how X is made of them.

        It is None unless ordinary local files alone say what X is: what objects, URLs,
        folders and links lead to may change without a trace.

        Parameters
        ----------
        source
            The source as it was opened.
        """
        opening, options = self._opening, self._options
        files = list(dict.fromkeys([*(opening.paths or ()), *source.files]))
        found = find_identities(files)
        is_elsewhere = options.store is not None or options.allow_external
        if opening.paths is None or is_elsewhere or len(found) < len(files):
            return None
        words = options.vocabulary
        if words is not None:
            pairs = words.items() if isinstance(words, Mapping) else enumerate(words)
            words = [f"{number} {name}" for number, name in pairs]
        facts = {
            "files": [[file, one.n_bytes, one.mtime_ns] for file, one in found.items()],
            "paths": opening.paths,
            "x": [opening.x, options.x],
            "genes": None if options.genes is None else np.asarray(options.genes),
            "table": [options.join, options.columns, words],
        }
        return fingerprint(facts)

    def _open(self, source: Source, names: Sequence[str]) -> Source:
        for file, identity in self._identities.items():
            check_unchanged(file, identity)
        again = self._opening.open(replace(self._options, obs=tuple(names)))
        if again.fingerprint != source.fingerprint:
            raise FileChangedError(
                f"the data changed since it was opened: it had {len(source)} cells, and"
                f" now has {len(again)}, or other counts or genes; open it again"
            )
        return again


def find_identities(files: Iterable[str]) -> dict[str, Identity]:
    """Return the identity that each local file has now; of folders there is none."""
    found = {}
    for file in files:
        try:
            status = Path(file).stat()  # once: on remote disks it takes a while
        except OSError:  # a name that is no path
            continue
        if stat.S_ISREG(status.st_mode):
            found[file] = Identity(status.st_size, status.st_mtime_ns)
    return found
