"""Readers of the obs columns and names of cells: from files, or from other sources."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...errors import FileFormatError
from ...storage import ReadContext
from ..base import Source
from ..ranged.row_arrays import KeptArrays, MemoryArray
from ..rows import RowMap, Rows, cut_by_file, scatter_values
from .columns import LabelColumn
from .joined_columns import JoinedColumns, text_at
from .kept_columns import KeptColumns
from .labelled_cells import LabelledCells
from .text import TextArray
from .vocabulary import join_labels

__all__ = [
    "ChosenObs",
    "FileObs",
    "JoinedObs",
    "ObsReader",
    "SourceObs",
    "SourceWithObs",
]


class ObsReader(ABC):
    """Reads the obs columns and the names of cells.

    Attributes
    ----------
    columns : tuple of str
        The obs columns carried.
    categories : dict
        The labels of those that come as codes.
    ordered : frozenset of str
        Those of them whose order has a meaning.
    notices : tuple of str
        What the user should be warned of.
    """

    columns: tuple[str, ...] = ()
    categories: dict[str, list[Any]]
    ordered: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()

    @abstractmethod
    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""

    @abstractmethod
    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return None

    def find_other(self, names: Sequence[str]) -> "ObsReader | None":
        """Return what reads columns that are not carried, None if only `open` can."""
        return None


class FileObs(ObsReader):
    """Reads obs from one file, or from several, one after the other.

    Parameters
    ----------
    obs
        How each column is read from each file.
    names
        The names of the cells of each file; None where they were not asked for.
    starts
        First row of each file, and the number of rows.
    kept
        Keeps small columns in memory; by default one for these columns alone.
    small
        Keeps the columns of small files, joined; None: nothing does.
    """

    def __init__(
        self,
        obs: JoinedColumns,
        names: Sequence[TextArray | None] | None,
        starts: Rows,
        kept: KeptArrays | None = None,
        small: KeptColumns | None = None,
    ) -> None:
        self.columns = tuple(obs.columns)
        self.categories = obs.categories
        self.ordered = obs.ordered
        self.notices = obs.notices
        self._obs = obs
        # Names are asked for of all files, or of none.
        self._names = names if names and names[0] is not None else None
        self._starts = starts
        self._kept = KeptArrays(obs.numbers(), obs.codes()) if kept is None else kept
        self._small = small

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""
        return self._obs.read(
            rows, self._starts, self._kept, context, names, self._small
        )

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        if self._names is None:
            return None
        return text_at(self._names, rows, self._starts)

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        small = None if self._small is None else self._small.count_missing(name)
        if small is not None:
            return small
        return self._obs.columns[name].count_missing(self._kept)


class SourceObs(ObsReader):
    """Reads obs from a source."""

    def __init__(self, source: LabelledCells) -> None:
        self.columns = source.obs_columns
        self.categories = source.categories
        self.ordered = source.info.ordered
        self._source = source

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""
        return self._source.read_obs(rows, context, names)

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        return self._source.read_names(rows)

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return self._source.count_missing(name)

    def find_other(self, names: Sequence[str]) -> ObsReader | None:
        """Return what reads columns that the source does not carry."""
        found = self._source.find_carrier(names)
        return None if found is None else SourceObs(found)


class ChosenObs(ObsReader):
    """Reads obs through another reader, at some of its rows, in any order.

    Parameters
    ----------
    reader
        The other reader.
    chosen
        Which of its rows these are.
    """

    def __init__(self, reader: ObsReader, chosen: RowMap) -> None:
        self.columns = reader.columns
        self.categories = reader.categories
        self.ordered = reader.ordered
        self.notices = reader.notices
        self._reader = reader
        self._chosen = chosen

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""
        chosen, order = self._sort_chosen(rows)
        read = self._reader.read(chosen, context, names)
        return {name: scatter_values(values, order) for name, values in read.items()}

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        chosen, order = self._sort_chosen(rows)
        names = self._reader.read_names(chosen)
        return None if names is None else scatter_values(names, order)

    def find_other(self, names: Sequence[str]) -> ObsReader | None:
        """Return what reads columns that the other reader does not carry."""
        found = self._reader.find_other(names)
        return None if found is None else ChosenObs(found, self._chosen)

    def _sort_chosen(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.intp]]:
        """Return the other reader's rows, sorted, and where each of them belongs."""
        chosen = self._chosen[rows]
        order = np.argsort(chosen, kind="stable")
        return chosen[order], order


class JoinedObs(ObsReader):
    """Reads obs from several sources, one after the other, in one vocabulary.

    Parameters
    ----------
    sources
        They carry the same columns.
    starts
        First row of each, and the number of rows.
    columns
        The columns; by default all of them, which must then be the same.

    Raises
    ------
    FileFormatError
        If they differ in their columns, or in what a column is.
    """

    def __init__(
        self,
        sources: Sequence[LabelledCells],
        starts: Rows,
        columns: Sequence[str] | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self._starts = starts
        self.columns = sources[0].obs_columns if columns is None else tuple(columns)
        names = [f"source {i}" for i in range(len(sources))]
        for name, source in zip(names, sources, strict=True):
            if columns is None and set(source.obs_columns) != set(self.columns):
                raise FileFormatError(
                    f"{names[0]} carries the obs columns {list(self.columns)} and"
                    f" {name} {list(source.obs_columns)}; open them with the same obs="
                )
        self.categories = {}
        self._code_maps: dict[str, list[npt.NDArray[np.int32]]] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self.ordered = frozenset().union(*(s.info.ordered for s in sources))
        for column in self.columns:
            self._join_column(column, names)

    def _join_column(self, column: str, names: Sequence[str]) -> None:
        """Find the vocabulary, or the type, of one column over all sources."""
        sources = self._sources
        coded = [column in source.categories for source in sources]
        if not any(coded):
            found = (source.obs_dtype(column) for source in sources)
            self._dtypes[column] = np.result_type(*found)
            return
        if not all(coded):
            raise FileFormatError(
                f'obs column "{column}" is labels in {names[coded.index(True)]} and'
                f" numbers in {names[coded.index(False)]}; make it the same in all"
            )
        nothing = MemoryArray(np.empty(0, np.int32), "codes")
        lists = [
            LabelColumn(nothing, s.categories[column], column in s.info.ordered)
            for s in sources
        ]
        vocabulary = join_labels(column, names, lists)
        self.categories[column] = vocabulary.labels
        self._code_maps[column] = vocabulary.code_maps
        self._dtypes[column] = np.dtype(np.int32)

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns called `names`, by default all, at non-decreasing rows."""
        names = self.columns if names is None else names
        out = {name: np.empty(len(rows), self._dtypes[name]) for name in names}
        for i, start, stop in cut_by_file(rows, self._starts):
            local = rows[start:stop] - self._starts[i]
            read = self._sources[i].read_obs(local, context, names)
            for name in names:
                values = read[name]
                if name in self._code_maps:
                    values = self._code_maps[name][i][values]
                out[name][start:stop] = values
        return out

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        out = np.empty(len(rows), object)
        for i, start, stop in cut_by_file(rows, self._starts):
            names = self._sources[i].read_names(rows[start:stop] - self._starts[i])
            if names is None:
                return None
            out[start:stop] = names
        return out

    def find_other(self, names: Sequence[str]) -> ObsReader | None:
        """Return what reads columns that not all of the sources carry."""
        carriers = []
        for source in self._sources:
            found = source.find_carrier(names)
            if found is None:
                return None
            carriers.append(found)
        return JoinedObs(carriers, self._starts, names)


class _CellsOfReader(LabelledCells):
    """Cells whose obs columns a reader reads; there is nothing else of them."""

    def __init__(self, reader: ObsReader, n_cells: int) -> None:
        self._reader = reader
        self._n_cells = n_cells
        none = np.empty(0, object)
        self.info = CellInfo(none, reader.categories, reader.ordered)

    def __len__(self) -> int:
        return self._n_cells

    @property
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._reader.columns

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns at `rows`."""
        return self._reader.read(rows, context, names)


class SourceWithObs(Source):
    """A source whose obs columns and names come from an :class:`ObsReader`."""

    _obs: ObsReader

    def _set_obs(
        self,
        obs: ObsReader,
        var_names: npt.NDArray[np.object_],
        notices: Sequence[str] = (),
        **parts: Any,
    ) -> None:
        """Set what is known of cells and genes; part of the construction of each.

        Parameters
        ----------
        obs
            Reads the obs columns and names.
        var_names
            Names of the genes.
        notices
            What else the user should be warned of, repeats left out.
        parts
            Names of the genes of each array, where X is several; see `CellInfo`.
        """
        self._obs = obs
        self.info = CellInfo(var_names, obs.categories, obs.ordered, **parts)
        self.notices = tuple(dict.fromkeys([*notices, *obs.notices]))

    @property
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the obs columns that batches carry."""
        return self._obs.columns

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the carried columns at `rows`, see :meth:`Source.read_obs`."""
        return self._obs.read(rows, context, names)

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        return self._obs.read_names(rows)

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return self._obs.count_missing(name)

    def find_carrier(self, names: Sequence[str]) -> LabelledCells | None:
        """Return these cells with other columns, where they can be read."""
        found = self._obs.find_other(names)
        if found is not None:
            return _CellsOfReader(found, len(self))
        return super().find_carrier(names)
