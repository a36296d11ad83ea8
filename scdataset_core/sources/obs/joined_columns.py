"""The obs columns a source carries, over all of its files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, MissingNameError, nearest
from ...storage import ReadContext
from ..ranged.row_arrays import KeptArrays, RowArray
from ..rows import Rows, cut_by_file, files_of_sorted, first_of_files
from .column_over_files import JoinedLabels, JoinedNumbers
from .columns import Column, Label, LabelColumn, NumberColumn, Unreadable
from .kept_columns import KeptColumns
from .text import TextArray
from .vocabulary import Vocabulary, join_labels, saved_labels

__all__ = ["JoinedColumns", "join_obs", "text_at"]


def text_at(
    texts: Sequence[TextArray | None], rows: Rows, file_starts: Rows
) -> npt.NDArray[np.object_]:
    """Return text at non-decreasing rows of several files, each with an array of it."""
    out = np.empty(len(rows), object)
    for file, start, stop in cut_by_file(rows, file_starts):
        text = texts[file]
        assert text is not None  # names are asked for of all files, or of none
        out[start:stop] = text.at(rows[start:stop] - file_starts[file])
    return out


@dataclass(frozen=True)
class JoinedColumns:
    """The carried columns: how each is read from each file.

    Parameters
    ----------
    columns
        By name, how it is read.
    categories
        By name, the labels of the columns that come as codes.
    notices
        What the user should be warned of.
    ordered
        The columns of labels whose order has a meaning.
    """

    columns: Mapping[str, JoinedLabels | JoinedNumbers]
    categories: dict[str, list[Label]]
    notices: tuple[str, ...] = ()
    ordered: frozenset[str] = frozenset()

    def read_from(self, columns: Mapping[str, Sequence[Any]]) -> "JoinedColumns":
        """Return the same columns, each read from others: those that can be read.

        Any: `LabelColumn` or `NumberColumn`, as they were joined.
        """
        read: dict[str, JoinedLabels | JoinedNumbers] = {}
        for name, column in self.columns.items():
            if isinstance(column, JoinedLabels):
                read[name] = JoinedLabels(
                    columns[name], column.code_maps, column.n_labels
                )
            else:
                read[name] = JoinedNumbers(columns[name], column.dtype)
        return replace(self, columns=read)

    def keep_small(
        self, file_starts: Rows, most_bytes: int, most_code_bytes: int
    ) -> KeptColumns:
        """Return what keeps the columns of small files, joined."""
        return KeptColumns(
            self.columns, self.categories, file_starts, most_bytes, most_code_bytes
        )

    def numbers(self, small: KeptColumns | None = None) -> list[RowArray]:
        """Return the arrays of numbers, or of what is missing, that are read.

        Those of files that `small` keeps are left out.
        """
        return [
            array
            for name, column in self.columns.items()
            if isinstance(column, JoinedNumbers)
            for part in _others(column.columns, name, small)
            for array in part.arrays
        ]

    def codes(
        self, small: KeptColumns | None = None
    ) -> list[tuple[RowArray, np.dtype[Any]]]:
        """Return the arrays of codes, and the narrow type that each is kept in.

        Those of files that `small` keeps are left out.
        """
        return [
            (part.codes, part.narrow_dtype)
            for name, column in self.columns.items()
            if isinstance(column, JoinedLabels)
            for part in _others(column.columns, name, small)
        ]

    def read(
        self,
        rows: Rows,
        file_starts: Rows,
        kept: KeptArrays,
        context: ReadContext,
        names: Sequence[str] | None = None,
        small: KeptColumns | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows.

        What `small` keeps is looked up there, the rest is read from arrays, the small
        ones of which are `kept`.
        """
        wanted = self.columns
        if names is not None:
            wanted = {name: self.columns[name] for name in names}
        out = {name: np.empty(len(rows), c.dtype) for name, c in wanted.items()}
        if not wanted or not len(rows):
            return out
        files = files_of_sorted(rows, file_starts)
        numbers = files[first_of_files(files)]
        left: list[tuple[str, int, int, int]] = []
        for name in wanted:
            others = np.ones(len(numbers), bool)
            if small is not None:
                small.read(name, rows, files, numbers, out[name])
                others = ~small.keeps(name)[numbers]
            if others.any():
                cuts = cut_by_file(rows, file_starts)
                left += [(name, *cuts[i]) for i in np.flatnonzero(others).tolist()]
        arrays = (
            array for name, file, *_ in left for array in wanted[name].arrays_of(file)
        )
        brought = kept.bring(arrays, context)
        for name, file, start, stop in left:
            local, column = rows[start:stop] - file_starts[file], wanted[name]
            parts = []
            for array, check in column.arrays_of(file):
                values, positions = brought.at(array, local, context, check=check)
                parts.append(values[positions])
            column.join(file, parts, out[name][start:stop])
        return out


def _others(
    columns: Sequence[Any], name: str, small: KeptColumns | None
) -> Iterator[Any]:  # Any: LabelColumn or NumberColumn
    """Yield the columns of files that nothing else keeps."""
    keeps = [False] * len(columns) if small is None else small.keeps(name).tolist()
    return (column for column, kept in zip(columns, keeps, strict=True) if not kept)


def join_obs(
    files: Sequence[str],
    columns: Sequence[Mapping[str, Column]],
    wanted: tuple[str, ...] | Literal[True],
    saved: Mapping[str, Sequence[Label]] | None,
) -> JoinedColumns:
    """Return the wanted columns over all files.

    Parameters
    ----------
    files
        Names of the files, for errors.
    columns
        The columns of each file that were looked up: the wanted ones that are there.
    wanted
        Names, or True for every column that all files have and that can be carried.
    saved
        Labels to encode with, by column.

    Raises
    ------
    MissingNameError
        If `saved` names a column that is not carried.
    FileFormatError
        If a column cannot be carried, or files disagree in what it is.
    """
    notices: list[str] = []
    left_out: dict[str, str] = {}
    names = _carried(files, columns, left_out) if wanted is True else wanted
    saved = saved or {}
    for name in saved:
        if name not in names:
            raise MissingNameError(
                f'categories names "{name}", which is not a carried obs column;'
                f" {nearest(name, names)}"
            )
    joined: dict[str, JoinedLabels | JoinedNumbers] = {}
    categories: dict[str, list[Label]] = {}
    unseen: dict[str, list[Label]] = {}
    for name in names:
        found = _settled([of_file[name] for of_file in columns])
        joined[name], vocabulary = _joined(name, files, found, saved)
        if vocabulary is not None:
            categories[name] = vocabulary.labels
            if vocabulary.unseen:
                unseen[name] = vocabulary.unseen
    if left_out:
        notices.append(_left_out_notice(left_out, len(joined)))
    if unseen:
        notices.append(_unseen_notice(unseen))
    ordered = frozenset(
        name
        for name, column in joined.items()
        if isinstance(column, JoinedLabels) and any(c.ordered for c in column.columns)
    )
    return JoinedColumns(joined, categories, tuple(notices), ordered)


def _joined(
    name: str,
    files: Sequence[str],
    columns: Sequence[Column],
    saved: Mapping[str, Sequence[Label]],
) -> "tuple[JoinedLabels | JoinedNumbers, Vocabulary | None]":
    """Return one column over all files, and its vocabulary if it is labels."""
    if _kind(name, files, columns) is NumberColumn:
        if name in saved:
            raise FileFormatError(
                f'categories names "{name}", which is numbers in {files[0]}'
            )
        return _join_numbers(
            [column for column in columns if type(column) is NumberColumn]
        ), None
    labels = [column for column in columns if isinstance(column, LabelColumn)]
    vocabulary = (
        saved_labels(saved[name], labels)
        if name in saved
        else join_labels(name, files, labels)
    )
    joined = JoinedLabels(labels, vocabulary.code_maps, len(vocabulary.labels))
    return joined, vocabulary


def _carried(
    files: Sequence[str],
    columns: Sequence[Mapping[str, Column]],
    left_out: dict[str, str],
) -> tuple[str, ...]:
    """Return the columns that ``obs=True`` carries; why not others, in `left_out`."""
    names = dict.fromkeys(name for of_file in columns for name in of_file)
    for name in names:
        for file, of_file in zip(files, columns, strict=True):
            column = of_file.get(name)
            if column is None:
                left_out[name] = f"{file} has none"
            elif isinstance(column, Unreadable):
                left_out[name] = f"in {file} {column.reason}"
    return tuple(name for name in names if name not in left_out)


def _left_out_notice(left_out: Mapping[str, str], n_carried: int) -> str:
    listed = "; ".join(f'"{name}": {why}' for name, why in left_out.items())
    return (
        f"obs=True leaves out {len(left_out)} of {n_carried + len(left_out)} columns;"
        f" {listed}"
    )


def _settled(columns: Sequence[Column]) -> Sequence[Column]:
    """Return the columns, those of files without cells as something the others are.

    An empty table has columns of numbers where the others hold labels, and lists no
    categories: it has nothing to disagree with.
    """
    known = [column for column in columns if not isinstance(column, Unreadable)]
    filled = [column for column in known if column.arrays[0].shape[0]]
    if not filled or len(filled) == len(columns):
        return columns
    like = filled[0]
    ordered = isinstance(like, LabelColumn) and like.ordered
    return [
        column
        if isinstance(column, Unreadable)
        or column.arrays[0].shape[0]
        or (type(column) is type(like) and not ordered)
        else like
        for column in columns
    ]


def _kind(
    name: str, files: Sequence[str], columns: Sequence[Column]
) -> type[LabelColumn] | type[NumberColumn]:
    kinds: dict[type[LabelColumn] | type[NumberColumn], str] = {}
    for file, column in zip(files, columns, strict=True):
        if isinstance(column, Unreadable):
            raise FileFormatError(
                f'{file}: obs column "{name}" cannot be carried: {column.reason}'
            )
        kinds.setdefault(type(column), file)
    if len(kinds) == 2:
        raise FileFormatError(
            f'obs column "{name}" is labels in {kinds[LabelColumn]} and numbers in'
            f" {kinds[NumberColumn]}; make it the same in all files"
        )
    return next(iter(kinds))


def _join_numbers(columns: Sequence[NumberColumn]) -> JoinedNumbers:
    if any(column.any_missing() for column in columns):
        return JoinedNumbers(columns, np.dtype(np.float64))
    dtype = np.result_type(*(column.values.dtype for column in columns))
    return JoinedNumbers([NumberColumn(column.values) for column in columns], dtype)


def _unseen_notice(unseen: Mapping[str, Sequence[Label]]) -> str:
    count = sum(map(len, unseen.values()))
    listed = "; ".join(
        f'{len(labels)} of "{name}" ({", ".join(map(str, labels[:5]))}'
        + (", ..." if len(labels) > 5 else "")
        + ")"
        for name, labels in unseen.items()
    )
    return f"{count} labels are not in the saved categories and come as -1: {listed}"
