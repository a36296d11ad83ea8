"""The genes of several files as one: joins, selections, and what they change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import GeneMismatchError, MissingNameError, nearest
from ..options import Genes, Join
from .shared_names import SharedNames

__all__ = ["FileGenes", "GeneJoin", "join_genes", "map_columns", "select_columns"]

Names = npt.NDArray[np.object_]

_EXAMPLES = 5


@dataclass(frozen=True)
class FileGenes:
    """The genes that a join and a selection leave out of one file, or add to it.

    Parameters
    ----------
    file
        The file.
    n_stored
        Number of genes that the file holds.
    n_lost
        Number of its genes that are left out.
    n_added
        Genes of the source that the file does not hold: their values are 0.
    lost, added
        The first few names of the genes left out and added.
    """

    file: str
    n_stored: int
    n_lost: int
    n_added: int
    lost: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.file}: {self.n_stored} genes"
        for count, names, what in (
            (self.n_lost, self.lost, "left out"),
            (self.n_added, self.added, "added as 0"),
        ):
            if count:
                more = ", ..." if count > len(names) else ""
                text += f", {count} {what} ({', '.join(names)}{more})"
        return text


@dataclass(frozen=True)
class GeneJoin:
    """The column of the source for each column of each file.

    Parameters
    ----------
    names
        Names of the columns of the source.
    n_stored
        Number of columns of each file.
    column_maps
        For each file the column of the source for each of its own, -1 where it is
        left out, int32; or None where each column keeps its place. Files with the
        same genes share one array.
    report
        The genes that each file loses and gains.
    """

    names: Names
    n_stored: tuple[int, ...]
    column_maps: tuple[npt.NDArray[np.int32] | None, ...]
    report: tuple[FileGenes, ...]

    @cached_property
    def fewest_stored(self) -> int:
        """The smallest number of columns of a file; every minibatch asks for it."""
        return min(self.n_stored)

    @cached_property
    def most_stored(self) -> int:
        """The largest number of columns of a file."""
        return max(self.n_stored)

    @cached_property
    def identical(self) -> bool:
        """Whether the columns of all files mean the same."""
        return len(set(self.n_stored)) == 1 and len(set(map(id, self.column_maps))) == 1

    @cached_property
    def moves_columns(self) -> bool:
        """Whether columns of any file are moved or left out."""
        return any(column_map is not None for column_map in self.column_maps)

    def check_all_kept(self) -> None:
        """Raise unless the source has all genes of every file."""
        if any(has is not None and (has < 0).any() for has in self.column_maps):
            raise ValueError(
                "the lengths of rows are not known where genes are left out (genes=,"
                " or a join), since files only tell those of all genes"
            )

    def stored_columns(self, file: int) -> npt.NDArray[np.int64] | None:
        """Return the file's column for each column of the source, -1 where it has none.

        None where each column keeps its place.
        """
        column_map = self.column_maps[file]
        if column_map is None:
            return None
        columns = np.full(len(self.names), -1, np.int64)
        kept = np.flatnonzero(column_map >= 0)
        columns[column_map[kept]] = kept
        return columns


def join_genes(
    files: Sequence[str],
    var_names: Sequence[Names],
    join: Join,
    genes: Genes | None = None,
) -> GeneJoin:
    """Join the genes of several files, then select among them.

    Parameters
    ----------
    files
        Names of the files, for errors.
    var_names
        Names of the genes of each file.
    join
        ``"exact"``: the same genes in the same order, else an error. ``"inner"``: those
        that all files have, in the order of the first. ``"outer"``: those that any file
        has, in the order in which they first appear.
    genes
        Names or positions among the joined genes, in the order wanted.

    Raises
    ------
    GeneMismatchError
        If the files disagree and `join` is ``"exact"``, or they share no gene.
    MissingNameError
        If a name in `genes` is not among the joined genes.
    ValueError
        If names that must be looked up are not unique in a file.
    IndexError
        If a position in `genes` is outside the joined genes.
    """
    lists = _share_equal(var_names)
    same = all(names is lists[0] for names in lists)
    if not same and join == "exact":
        raise _mismatch(files, lists)
    if not same:
        checked: set[int] = set()
        for file, names in zip(files, lists, strict=True):
            if id(names) not in checked:
                checked.add(id(names))
                _check_unique(file, names, f'join="{join}"')
    joined = lists[0] if same else _join_names(files, lists, join)
    selected = None if genes is None else _find_positions(genes, joined, files[0])
    names = joined if selected is None else joined[selected]
    column_maps: dict[int, npt.NDArray[np.int32] | None] = {}
    for own in lists:
        if id(own) not in column_maps:
            column_maps[id(own)] = _map_genes(own, joined, selected, same)
    return GeneJoin(
        names,
        tuple(len(own) for own in lists),
        tuple(column_maps[id(own)] for own in lists),
        _report(files, lists, names, column_maps),
    )


def map_columns(
    values: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    column_map: npt.NDArray[np.int32] | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return sparse rows with the columns of a source in place of their own.

    Parameters
    ----------
    values, columns
        Value and column of each stored element, row after row.
    starts
        Where each row starts among them, and their number.
    column_map
        The new column of each column, -1 where it is left out; None: all stay.
    """
    if column_map is None:
        return values, columns, starts
    return select_columns(values, column_map.take(columns), starts)


def select_columns(
    values: npt.NDArray[Any],
    mapped: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return sparse rows without the values whose column is mapped to -1.

    Parameters
    ----------
    values, mapped
        Value and new column of each stored element, row after row.
    starts
        Where each row starts among them, and their number.
    """
    kept = np.flatnonzero(mapped >= 0)
    if len(kept) == len(mapped):
        return values, mapped, starts
    return values.take(kept), mapped.take(kept), np.searchsorted(kept, starts)


def _share_equal(var_names: Sequence[Names]) -> list[Names]:
    """Return the lists, with one object in place of all that are equal."""
    shared = SharedNames()
    distinct = {id(names): names for names in var_names}
    kept = {key: shared.share(names) for key, names in distinct.items()}
    return [kept[id(names)] for names in var_names]


def _join_names(files: Sequence[str], lists: Sequence[Names], join: Join) -> Names:
    distinct = {id(names): names for names in lists}.values()
    if join == "outer":
        seen = dict.fromkeys(name for names in distinct for name in names.tolist())
        return np.array(list(seen), object)
    common = set(lists[0].tolist()).intersection(
        *(names.tolist() for names in distinct)
    )
    if not common:
        raise GeneMismatchError(
            f'join="inner": the {len(files)} files share no gene; {files[0]} begins'
            f" with {_list_first(lists[0])} and {files[-1]} with"
            f" {_list_first(lists[-1])}"
        )
    return np.array([name for name in lists[0].tolist() if name in common], object)


def _find_positions(genes: Genes, joined: Names, file: str) -> npt.NDArray[np.int64]:
    wanted = np.asarray(genes)
    if wanted.dtype.kind in "iu":
        positions = wanted.astype(np.int64)
        outside = (positions < 0) | (positions >= len(joined))
        if outside.any():
            raise IndexError(
                f"genes names position {positions[outside][0]}, and the genes are"
                f" 0 to {len(joined) - 1}"
            )
        return positions
    place = {name: position for position, name in enumerate(joined.tolist())}
    names = [str(name) for name in wanted.tolist()]
    unknown = [name for name in names if name not in place]
    if unknown:
        raise MissingNameError(
            f'{len(unknown)} of genes are not there, the first is "{unknown[0]}";'
            f" {nearest(unknown[0], place)}"
        )
    if len(place) < len(joined):
        asked = set(names)
        _check_unique(file, joined[[str(n) in asked for n in joined]], "genes")
    return np.array([place[name] for name in names], np.int64)


def _map_genes(
    own: Names, joined: Names, selected: npt.NDArray[np.int64] | None, same: bool
) -> npt.NDArray[np.int32] | None:
    if selected is None and (same or np.array_equal(own, joined)):
        return None
    place = np.full(len(joined), -1, np.int32)
    kept = np.arange(len(joined)) if selected is None else selected
    place[kept] = np.arange(len(kept), dtype=np.int32)
    if same or np.array_equal(own, joined):
        return place
    position = {name: at for at, name in enumerate(joined.tolist())}
    at = np.array([position.get(name, -1) for name in own.tolist()], np.int64)
    return np.where(at >= 0, place[at], np.int32(-1)).astype(np.int32)


def _report(
    files: Sequence[str],
    lists: Sequence[Names],
    names: Names,
    column_maps: Mapping[int, npt.NDArray[np.int32] | None],
) -> tuple[FileGenes, ...]:
    """Return what each file loses and gains, found once for each list of genes."""
    known: dict[int, FileGenes] = {}
    for file, own in zip(files, lists, strict=True):
        if id(own) not in known:
            known[id(own)] = _file_genes(file, own, names, column_maps[id(own)])
    return tuple(
        replace(known[id(own)], file=file)
        for file, own in zip(files, lists, strict=True)
    )


def _file_genes(
    file: str, own: Names, names: Names, column_map: npt.NDArray[np.int32] | None
) -> FileGenes:
    if column_map is None:
        return FileGenes(file, len(own), 0, 0, (), ())
    lost = column_map < 0
    absent = np.ones(len(names), bool)
    absent[column_map[~lost]] = False
    return FileGenes(
        file,
        len(own),
        int(lost.sum()),
        int(absent.sum()),
        tuple(map(str, own[np.flatnonzero(lost)[:_EXAMPLES]])),
        tuple(map(str, names[np.flatnonzero(absent)[:_EXAMPLES]])),
    )


def _check_unique(file: str, names: Names, why: str) -> None:
    unique, counts = np.unique(names.astype(str), return_counts=True)
    if len(unique) != len(names):
        twice = ", ".join(unique[counts > 1][:_EXAMPLES])
        raise GeneMismatchError(
            f"{file}: gene names are not unique, which {why} needs; twice: {twice};"
            " make them unique (AnnData.var_names_make_unique), or select by position"
        )


def _mismatch(files: Sequence[str], lists: Sequence[Names]) -> GeneMismatchError:
    other = next(i for i, names in enumerate(lists) if names is not lists[0])
    a, b = lists[0].tolist(), lists[other].tolist()
    way_out = 'join="inner" keeps the genes all files have, join="outer" those any has'
    if set(a) == set(b) and len(a) == len(b):
        what = "the same genes in another order"
        way_out = 'join="inner" brings them into the order of the first file'
    else:
        in_a, in_b = set(a), set(b)
        only_a = [name for name in a if name not in in_b]
        only_b = [name for name in b if name not in in_a]
        what = (
            f"{len(a)} and {len(b)} genes; only in the first: {_list_first(only_a)};"
            f" only in the second: {_list_first(only_b)}"
        )
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is not None:
        what += f'; gene {at} is "{a[at]}" in one and "{b[at]}" in the other'
    return GeneMismatchError(f"{files[0]} and {files[other]} have {what}; {way_out}")


def _list_first(names: Any) -> str:
    listed = [str(name) for name in names[:_EXAMPLES]]
    if not listed:
        return "none"
    return ", ".join(listed) + (", ..." if len(names) > _EXAMPLES else "")
