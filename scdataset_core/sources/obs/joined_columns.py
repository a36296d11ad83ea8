"""The obs columns a source carries, over all of its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, MissingNameError, nearest
from ...storage import ReadContext
from ..ranged.row_arrays import BroughtArrays, Check, KeptArrays, RowArray, windows
from ..rows import Rows, cut_by_file
from .columns import Column, Label, LabelColumn, NumberColumn, Unreadable, narrow_codes
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
class _Labels:
    """A column of labels: one column and one map of codes for each file."""

    columns: Sequence[LabelColumn]
    code_maps: Sequence[npt.NDArray[np.int32]]

    dtype = np.dtype(np.int32)

    def arrays_of(self, file: int) -> "list[tuple[RowArray, Check]]":
        """Return what is read from a file, and what checks it."""
        column = self.columns[file]
        return [(column.codes, partial(narrow_codes, column=column))]

    def fill(
        self, out: npt.NDArray[Any], file: int, rows: Rows, reader: "_Reader"
    ) -> None:
        ((codes, check),) = self.arrays_of(file)
        values, positions = reader.kept.at(codes, rows, reader.context, check=check)
        _map_codes(self.code_maps[file], values[positions], out)

    def count_missing(self, kept: KeptArrays) -> int | None:
        """Return how many cells have no label; None unless all codes are in memory."""
        if not isinstance(self.columns, list | tuple):
            return None  # files of an index, which this would touch
        count = 0
        for column, code_map in zip(self.columns, self.code_maps, strict=True):
            codes = kept.held(column.codes)
            if codes is None:
                return None
            for start, stop in windows(len(codes)):
                mapped = _map_codes(code_map, codes[start:stop])
                count += int(np.count_nonzero(mapped < 0))
        return count


@dataclass(frozen=True)
class _Numbers:
    """A column of numbers or booleans."""

    columns: Sequence[NumberColumn]
    dtype: np.dtype[Any]

    def arrays_of(self, file: int) -> "list[tuple[RowArray, Check]]":
        """Return what is read from a file, and what checks it."""
        return [(array, _unchecked) for array in self.columns[file].arrays]

    def fill(
        self, out: npt.NDArray[Any], file: int, rows: Rows, reader: "_Reader"
    ) -> None:
        column = self.columns[file]
        values, positions = reader.kept.at(
            column.values, rows, reader.context, check=_unchecked
        )
        out[...] = values[positions]
        if column.mask is not None and self.dtype.kind == "f":
            mask, positions = reader.kept.at(
                column.mask, rows, reader.context, check=_unchecked
            )
            out[mask[positions].astype(bool, copy=False)] = np.nan

    def count_missing(self, kept: KeptArrays) -> int | None:
        """Return how many cells have no number; None unless all are in memory."""
        if not isinstance(self.columns, list | tuple):
            return None
        count = 0
        for column in self.columns:
            array = column.values if column.mask is None else column.mask
            values = kept.held(array)
            if values is None:
                return None
            gone = values.astype(bool) if column.mask is not None else values != values
            count += int(np.count_nonzero(gone))
        return count


def _map_codes(
    code_map: npt.NDArray[np.int32],
    codes: npt.NDArray[Any],
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Return where a file's own codes lead; a missing one to the last entry.

    It is -1 among signed codes, and the largest number among unsigned ones.
    """
    mode: Literal["wrap", "clip"] = "wrap" if codes.dtype.kind == "i" else "clip"
    mapped: npt.NDArray[Any] = np.take(code_map, codes, out=out, mode=mode)
    return mapped


@dataclass(frozen=True)
class _Reader:
    kept: BroughtArrays
    context: ReadContext


def _unchecked(values: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
    return values


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

    columns: Mapping[str, _Labels | _Numbers]
    categories: dict[str, list[Label]]
    notices: tuple[str, ...] = ()
    ordered: frozenset[str] = frozenset()

    def read_from(self, columns: Mapping[str, Sequence[Any]]) -> "JoinedColumns":
        """Return the same columns, each read from others: those that can be read.

        Any: `LabelColumn` or `NumberColumn`, as they were joined.
        """
        read: dict[str, _Labels | _Numbers] = {}
        for name, column in self.columns.items():
            if isinstance(column, _Labels):
                read[name] = _Labels(columns[name], column.code_maps)
            else:
                read[name] = _Numbers(columns[name], column.dtype)
        return replace(self, columns=read)

    @property
    def numbers(self) -> list[RowArray]:
        """Every array of numbers, or of what is missing among them, that is read."""
        return [
            array
            for column in self.columns.values()
            if isinstance(column, _Numbers)
            for part in column.columns
            for array in part.arrays
        ]

    @property
    def codes(self) -> list[tuple[RowArray, np.dtype[Any]]]:
        """Every array of codes that is read, and the narrow type that it is kept in."""
        return [
            (part.codes, part.narrow_dtype)
            for column in self.columns.values()
            if isinstance(column, _Labels)
            for part in column.columns
        ]

    def read(
        self,
        rows: Rows,
        file_starts: Rows,
        kept: KeptArrays,
        context: ReadContext,
        names: Sequence[str] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""
        wanted = self.columns
        if names is not None:
            wanted = {name: self.columns[name] for name in names}
        out = {name: np.empty(len(rows), c.dtype) for name, c in wanted.items()}
        if not wanted:
            return out
        cuts = cut_by_file(rows, file_starts)
        brought = kept.bring(
            (
                array
                for file, _, _ in cuts
                for column in wanted.values()
                for array in column.arrays_of(file)
            ),
            context,
        )
        reader = _Reader(brought, context)
        for file, start, stop in cuts:
            local = rows[start:stop] - file_starts[file]
            for name, column in wanted.items():
                column.fill(out[name][start:stop], file, local, reader)
        return out


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
    joined: dict[str, _Labels | _Numbers] = {}
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
        if isinstance(column, _Labels) and any(c.ordered for c in column.columns)
    )
    return JoinedColumns(joined, categories, tuple(notices), ordered)


def _joined(
    name: str,
    files: Sequence[str],
    columns: Sequence[Column],
    saved: Mapping[str, Sequence[Label]],
) -> "tuple[_Labels | _Numbers, Vocabulary | None]":
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
    return _Labels(labels, vocabulary.code_maps), vocabulary


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


def _join_numbers(columns: Sequence[NumberColumn]) -> _Numbers:
    if any(column.any_missing() for column in columns):
        return _Numbers(columns, np.dtype(np.float64))
    dtype = np.result_type(*(column.values.dtype for column in columns))
    return _Numbers([NumberColumn(column.values) for column in columns], dtype)


def _unseen_notice(unseen: Mapping[str, Sequence[Label]]) -> str:
    count = sum(map(len, unseen.values()))
    listed = "; ".join(
        f'{len(labels)} of "{name}" ({", ".join(map(str, labels[:5]))}'
        + (", ..." if len(labels) > 5 else "")
        + ")"
        for name, labels in unseen.items()
    )
    return f"{count} labels are not in the saved categories and come as -1: {listed}"
