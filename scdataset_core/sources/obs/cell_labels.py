"""The labels and names of cells apart from their X: from a table, or other sources."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...errors import FileFormatError
from ...storage import ReadContext
from ..base import Source
from ..ranged.row_arrays import KeptArrays, MemoryArray, Rows
from ..read_request import scatter_values
from .columns import LabelColumn
from .joined_columns import ObsTable, cut_by_file, text_at
from .text import TextArray
from .vocabulary import join_labels

__all__ = ["JoinedTags", "SourceTags", "TableTags", "TaggedSource", "Tags"]


class Tags(ABC):
    """What is known of cells besides X.

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
        """Return the columns at non-decreasing `rows`."""

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if not known."""
        return None

    @abstractmethod
    def names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells, or None where not asked for."""


class TableTags(Tags):
    """Labels of one table, or of the tables of several files.

    Parameters
    ----------
    obs
        The columns.
    names
        The names of the cells of each file, if they are carried.
    starts
        First row of each file, and the number of rows.
    """

    def __init__(
        self, obs: ObsTable, names: Sequence[TextArray] | None, starts: Rows
    ) -> None:
        self.columns = tuple(obs.columns)
        self.categories = obs.categories
        self.ordered = obs.ordered
        self.notices = obs.notices
        self._obs = obs
        self._names = names
        self._starts = starts
        files = [a for a in obs.arrays if not isinstance(a, MemoryArray)]
        self._kept = KeptArrays(files)

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns at non-decreasing `rows`."""
        return self._obs.read(rows, self._starts, self._kept, context, names)

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if not known."""
        return self._obs.columns[name].count_missing(self._kept)

    def names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells, or None where not asked for."""
        if self._names is None:
            return None
        return text_at(self._names, rows, self._starts)


class SourceTags(Tags):
    """The labels of a source, at some of its rows if those are given."""

    def __init__(self, source: Source, at: Rows | None = None) -> None:
        self.columns = source.obs_columns
        self.categories = source.categories
        self.ordered = source.info.ordered
        self._source = source
        self._at = at

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns at non-decreasing `rows`."""
        if self._at is None:
            return self._source.read_obs(rows, context, names)
        inner = self._at[rows]
        order = np.argsort(inner, kind="stable")
        read = self._source.read_obs(inner[order], context, names)
        return {name: scatter_values(values, order) for name, values in read.items()}

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if not known."""
        return self._source.count_missing(name) if self._at is None else None

    def names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells, or None where not asked for."""
        if self._at is None:
            return self._source.read_names(rows)
        inner = self._at[rows]
        order = np.argsort(inner, kind="stable")
        names = self._source.read_names(inner[order])
        return None if names is None else scatter_values(names, order)


class JoinedTags(Tags):
    """The labels of several sources, one after the other, in one vocabulary.

    Parameters
    ----------
    sources
        They carry the same columns.
    starts
        First row of each, and the number of rows.

    Raises
    ------
    FileFormatError
        If they differ in their columns, or in what a column is.
    """

    def __init__(self, sources: Sequence[Source], starts: Rows) -> None:
        self._sources = tuple(sources)
        self._starts = starts
        self.columns = sources[0].obs_columns
        names = [f"source {i}" for i in range(len(sources))]
        for name, source in zip(names, sources, strict=True):
            if set(source.obs_columns) != set(self.columns):
                raise FileFormatError(
                    f"{names[0]} carries the obs columns {list(self.columns)} and"
                    f" {name} {list(source.obs_columns)}; open them with the same obs="
                )
        self.categories = {}
        self._tables: dict[str, list[npt.NDArray[np.int32]]] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self.ordered = frozenset().union(*(s.info.ordered for s in sources))
        nothing = MemoryArray(np.empty(0, np.int32), "codes")
        for column in self.columns:
            coded = [column in source.categories for source in sources]
            if not any(coded):
                found = (source.obs_dtype(column) for source in sources)
                self._dtypes[column] = np.result_type(*found)
                continue
            if not all(coded):
                raise FileFormatError(
                    f'obs column "{column}" is labels in {names[coded.index(True)]} and'
                    f" numbers in {names[coded.index(False)]}; make it the same in all"
                )
            lists = [
                LabelColumn(nothing, s.categories[column], column in s.info.ordered)
                for s in sources
            ]
            vocabulary = join_labels(column, names, lists)
            self.categories[column] = vocabulary.labels
            self._tables[column] = vocabulary.tables
            self._dtypes[column] = np.dtype(np.int32)

    def read(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns at non-decreasing `rows`."""
        names = self.columns if names is None else names
        out = {name: np.empty(len(rows), self._dtypes[name]) for name in names}
        for i, start, stop in cut_by_file(rows, self._starts):
            local = rows[start:stop] - self._starts[i]
            read = self._sources[i].read_obs(local, context, names)
            for name in names:
                values = read[name]
                if name in self._tables:
                    values = self._tables[name][i][values]
                out[name][start:stop] = values
        return out

    def names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells, or None where not asked for."""
        out = np.empty(len(rows), object)
        for i, start, stop in cut_by_file(rows, self._starts):
            names = self._sources[i].read_names(rows[start:stop] - self._starts[i])
            if names is None:
                return None
            out[start:stop] = names
        return out


class TaggedSource(Source):
    """A source whose labels come from elsewhere than its X."""

    _tags: Tags

    def _carry(
        self, tags: Tags, var_names: npt.NDArray[np.object_], **parts: Any
    ) -> None:
        """Take the labels up; part of the construction of every one."""
        self._tags = tags
        self.info = CellInfo(var_names, tags.categories, tags.ordered, **parts)

    @property
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the obs columns that batches carry."""
        return self._tags.columns

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return self._tags.count_missing(name)

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the carried columns at `rows`, see :meth:`Source.read_obs`."""
        return self._tags.read(rows, context, names)

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        return self._tags.names(rows)
