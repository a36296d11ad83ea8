"""Split: parts of the rows of a source that share no row."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingNameError, nearest
from ..notebook_html import html_of_text
from ..row_sets import RowSet
from .files import StoredSplit, read_split, write_split
from .groups import find_groups, name_columns, windows_of
from .tables import CountTable

__all__ = ["Split", "load_split"]

_MOST_NAMED = 5  # groups that an error lists


class Split(Mapping[str, RowSet]):
    """Parts of the rows of a source, by name: ``parts["train"]`` is a RowSet.

    No row is in two parts. Made by :func:`scdataset_core.split` and
    :func:`scdataset_core.load_split`.

    Parameters
    ----------
    source
        What the rows are of: a source, or any object with rows.
    parts
        The rows of each part.
    by
        The obs columns whose groups are not divided.
    stratify
        The obs columns whose labels are in all parts alike.

    Raises
    ------
    ValueError
        If two parts share a row.
    """

    def __init__(
        self,
        source: Any,
        parts: Mapping[str, RowSet],
        *,
        by: Sequence[str] = (),
        stratify: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.by = tuple(by)
        self.stratify = tuple(stratify)
        self._parts = dict(parts)
        self.within = union_of(self._parts)

    def __getitem__(self, name: str) -> RowSet:
        if name not in self._parts:
            raise MissingNameError(
                f"the split has no part {name!r}; {nearest(str(name), self._parts)}"
            )
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def _repr_html_(self) -> str:
        return html_of_text(repr(self))

    def __repr__(self) -> str:
        n = len(self.within)
        head = f"Split of {n:,} of {self.within.n_rows:,} cells:"
        width = max(map(len, self._parts), default=0)
        lines = [
            f"  {name:<{width}}  {len(rows):>{len(f'{n:,}')},}  {len(rows) / n:.2%}"
            for name, rows in self._parts.items()
        ]
        return "\n".join([head, *lines])

    def table(self, labels: str | Sequence[str] | None = None) -> CountTable:
        """Return how many cells each part has.

        Parameters
        ----------
        labels
            An obs column, or several, by whose labels cells are counted; by default
            those that the split was stratified by, if it was.

        Returns
        -------
        table
            A dict: for each part its number of cells; or, with labels, a dict of the
            number of its cells of each label, None for cells without one. With several
            columns a label is a tuple. Printed it is a table.
        """
        columns = name_columns(labels, "labels") or self.stratify
        if not columns:
            return CountTable({name: len(rows) for name, rows in self.items()})
        groups = find_groups(self.source, columns, self.within)
        names = [groups.label(number) for number in range(len(groups))]
        counts = {}
        for part, rows in self.items():
            found = np.zeros(len(groups), np.int64)
            for window in windows_of(rows):
                if len(window.at):
                    found += np.bincount(groups.numbers(window), minlength=len(groups))
            counts[part] = dict(zip(names, found.tolist(), strict=True))
        return CountTable(counts)

    def check(self, by: str | Sequence[str] | None = None) -> None:
        """Raise if two parts have cells of one group.

        Parameters
        ----------
        by
            The obs column whose labels are the groups, or several, of which each
            combination is one; by default those that the split was made by. Cells
            without a label are a group of their own.

        Raises
        ------
        ValueError
            If parts share groups; it names them. Also if `by` is not given, and the
            split was made by no column.
        """
        columns = name_columns(by, "by") or self.by
        if not columns:
            raise ValueError(
                "check needs the obs column whose groups must not be shared:"
                ' check(by="donor")'
            )
        groups = find_groups(self.source, columns, self.within)
        present = np.zeros((len(self), len(groups)), bool)
        for part, rows in zip(present, self.values(), strict=True):
            for window in windows_of(rows):
                if len(window.at):
                    part[groups.numbers(window)] = True
        shared = np.flatnonzero(present.sum(axis=0) > 1)
        if not len(shared):
            return
        parts = list(self)
        listed = [
            f"{groups.name(number)} (in"
            f" {' and '.join(parts[i] for i in np.flatnonzero(present[:, number]))})"
            for number in shared[:_MOST_NAMED].tolist()
        ]
        rest = len(shared) - len(listed)
        raise ValueError(
            f"parts share {len(shared)} of {len(groups)} groups:"
            f" {'; '.join(listed)}" + (f"; and {rest} more" if rest else "")
        )

    def save(self, path: "str | Path") -> None:
        """Write the parts to one small file, with the fingerprint of the data.

        :func:`scdataset_core.load_split` reads it. A file that is there is replaced,
        and its folder is made.

        Parameters
        ----------
        path
            The file. It takes a bit a row and part or less, compressed.

        Raises
        ------
        FileExistsError
            If it is one of the files that the split is of.
        """
        if any(_is_same(path, file) for file in getattr(self.source, "files", ())):
            raise FileExistsError(17, "the file is one of those that are split", path)
        stored = StoredSplit(self._parts, self.by, self.stratify)
        write_split(stored, self.source, Path(path))


def _is_same(path: "str | Path", file: Any) -> bool:
    """Return whether two names are of one file that is there."""
    try:
        return Path(path).samefile(file)
    except (OSError, TypeError, ValueError):  # one is not there, or is no path
        return False


def load_split(path: "str | os.PathLike[str]", source: Any) -> Split:
    """Read a split that :meth:`Split.save` wrote.

    Parameters
    ----------
    path
        The file.
    source
        The data that it was made of, opened again; other obs columns and other genes
        may be chosen. Any: also any other object that a Loader takes.

    Returns
    -------
    split
        The same parts.

    Raises
    ------
    FileFormatError
        If the file is not of a split, or is damaged.
    ValueError
        If `source` is another data set.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad")
    >>> parts = scd.split(source, {"train": 0.9, "test": 0.1}, seed=1)
    >>> parts.save("split.npz")
    >>> scd.load_split("split.npz", source)["test"] == parts["test"]
    True
    """
    stored = read_split(os.fspath(path), source)
    return Split(source, stored.parts, by=stored.by, stratify=stored.stratify)


def union_of(parts: Mapping[str, RowSet]) -> RowSet:
    """Return the rows of all parts together.

    Raises
    ------
    ValueError
        If two of them share a row.
    """
    names = list(parts)
    whole = parts[names[0]]
    for i, name in enumerate(names[1:], start=1):
        if len(whole & parts[name]):
            for other in names[:i]:
                shared = parts[other] & parts[name]
                if len(shared):
                    raise ValueError(
                        f'"{other}" and "{name}" share {len(shared):,} cells, the'
                        f" first is row {shared[0]}"
                    )
        whole = whole | parts[name]
    return whole
