"""Sources of any kind, one after the other, as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError
from ...form import Form, pack
from ...storage import ReadContext, StoredArray
from ..base import Source
from ..contents import Contents
from ..fingerprints import fingerprint
from ..genes.joins import join_genes
from ..genes.var_columns import join_var
from ..matrix_rows import pack_matrix
from ..obs.obs_readers import JoinedObs, SourceWithObs
from ..options import Join
from ..read_request import ReadRequest
from ..rows import Rows, cut_by_file
from .side_by_side import SideBySideSource

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConcatSource", "concat"]


def concat(sources: Sequence[Source], *, join: Join = "exact") -> Source:
    """Return several sources, one after the other, as one.

    For sources of different formats; files of one format are better opened together:
    ``open([first, second])``. Labels get one vocabulary.

    Parameters
    ----------
    sources
        What :func:`scdataset_core.open` returned, each opened with the same ``obs=``.
    join
        How genes are joined, as for :func:`scdataset_core.open`. Columns of ``obsm``
        are joined by their names, ``NAME1``, ``NAME2`` and so on.

    Returns
    -------
    source
        Its rows are those of the first source, then those of the second, and so on.

    Raises
    ------
    TypeError
        If one of them is no source.
    FileFormatError
        If they differ in their obs columns, in what one is, or in the arrays of X.
    GeneMismatchError
        If they differ in their genes.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> first = scd.open("plates/plate1.h5ad", obs=["drug"])
    >>> second = scd.open("plates/plate2.h5ad", obs=["drug"], genes=first.var_names)
    >>> scd.concat([first, second]).shape
    (800, 300)
    """
    given = list(sources)
    if not given:
        raise ValueError("concat needs at least one source, got none")
    for position, source in enumerate(given):
        if not isinstance(source, Source):
            raise TypeError(
                f"concat joins sources, and number {position} is a"
                f" {type(source).__name__}; open() it first"
            )
    if join not in ("exact", "inner", "outer"):
        raise ValueError(f'join must be "exact", "inner" or "outer", got {join!r}')
    names = list(given[0].parts)
    for position, source in enumerate(given):
        if list(source.parts) != names:
            raise FileFormatError(
                f"X of source 0 is {names or 'one array'} and of source {position}"
                f" {list(source.parts) or 'one array'}: sources that are joined have"
                " the same arrays by name, in the same order"
            )
    if not names:
        return ConcatSource(given, join=join)
    parts = {
        name: ConcatSource([source.parts[name] for source in given], join=join)
        for name in names
    }
    starts = np.cumsum([0, *(len(source) for source in given)], dtype=np.int64)
    return SideBySideSource(parts, JoinedObs(given, starts))


class ConcatSource(SourceWithObs):
    """Several sources, one after the other.

    Made by :func:`scdataset_core.concat`.

    Parameters
    ----------
    sources
        The sources.
    join
        How their genes are joined.
    """

    def __init__(self, sources: Sequence[Source], *, join: Join) -> None:
        self._sources = tuple(sources)
        self._starts = np.cumsum(
            [0, *(len(source) for source in sources)], dtype=np.int64
        )
        names = [f"source {i}" for i in range(len(sources))]
        self._genes = join_genes(names, [s.var_names for s in sources], join)
        self.files = tuple(file for source in sources for file in source.files)
        inner = [
            start + source.file_starts[:-1]
            for start, source in zip(self._starts[:-1], sources, strict=True)
        ]
        self.file_starts = np.concatenate([*inner, self._starts[-1:]])
        self.cache = next((s.cache for s in sources if s.cache), None)
        self.sparse = any(source.sparse for source in sources)
        self.dtype = np.result_type(*(source.dtype for source in sources))
        blocks = [source.natural_block for source in sources]
        self.natural_block = max(1, round(float(np.median(blocks))))
        self.genes_report = self._genes.report
        self._set_obs(
            JoinedObs(sources, self._starts),
            self._genes.names,
            [notice for source in sources for notice in source.notices],
        )

    @property
    def concurrent(self) -> bool:  # type: ignore[override]
        """Whether two threads may read at a time, and gain by it."""
        return all(source.concurrent for source in self._sources)

    def x_arrays(self) -> list[StoredArray]:
        """Return the arrays that hold X, where ranges of them are read from files."""
        return [array for source in self._sources for array in source.x_arrays()]

    def __repr__(self) -> str:
        n_obs, n_vars = self.shape
        lines = [f"Source of {n_obs:,} cells x {n_vars:,} genes, one after the other:"]
        for source in self._sources:
            lines += [f"  {line}" for line in repr(source).splitlines()]
        return "\n".join(lines)

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes: the columns that all sources agree in."""
        names = [f"source {i}" for i in range(len(self._sources))]
        return join_var(self._genes, (s.var for s in self._sources), names)

    @property
    def contents(self) -> Contents | None:
        """Names of what the first source holds."""
        return self._sources[0].contents

    @property
    def fingerprint(self) -> str:
        """A digest of the fingerprints of the sources, and of the genes."""
        sources = [source.fingerprint for source in self._sources]
        return fingerprint({"sources": sources, "genes": self.var_names})

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row (of genes for dense rows)."""
        if not self.sparse:
            return float(self.shape[1])
        stored = sum(source.mean_stored * len(source) for source in self._sources)
        return stored / max(len(self), 1)

    @property
    def block_starts(self) -> Rows | None:
        """First row of the rows that start inside each storage chunk, or None."""
        firsts = []
        for start, source in zip(self._starts[:-1], self._sources, strict=True):
            starts = source.block_starts
            if starts is None:
                return None
            firsts.append(start + starts)
        return np.concatenate(firsts)

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row."""
        longest = max(source.longest_row() for source in self._sources)
        return min(longest, self.shape[1])

    def read_lengths(self, rows: Rows) -> Rows:
        """Return the stored values of non-decreasing rows, as their sources know."""
        self._genes.check_all_kept()
        lengths = np.empty_like(rows)
        for source in self._sources:
            source.read_lengths(np.empty(0, np.int64))  # raises if it does not know
        for i, a, b in cut_by_file(rows, self._starts):
            lengths[a:b] = self._sources[i].read_lengths(rows[a:b] - self._starts[i])
        return lengths

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        form = request.form
        wanted = replace(form, dtype=form.value_dtype(self.dtype))
        rows, places, bounds = request.rows, request.places, request.bounds
        cuts = cut_by_file(rows, self._starts)
        if not cuts:
            cuts = [(0, 0, 0)]
        pieces: list[list[tuple[Any, Rows]]] = [[] for _ in range(request.n_batches)]
        for i, a, b in cuts:
            local = rows[a:b] - self._starts[i]
            in_order = np.sort(places[a:b])
            its_bounds = np.searchsorted(in_order, bounds)
            its_places = np.searchsorted(in_order, places[a:b])
            own = ReadRequest(local, its_places, its_bounds, wanted, request.context)
            for batch, x in enumerate(self._read_one(i, own)):
                low, high = its_bounds[batch : batch + 2]
                if high > low or len(cuts) == 1:
                    pieces[batch].append((x, in_order[low:high] - bounds[batch]))
        empty = pack(np.empty((0, self.shape[1]), self.dtype), form=wanted)
        return [
            _merge(own, wanted, request.context) if own else empty for own in pieces
        ]

    def _read_one(self, i: int, request: ReadRequest) -> list[Any]:
        """Read from one source, with the genes of all in place of its own."""
        source = self._sources[i]
        if self._genes.column_maps[i] is None:
            return source.read_x(request)
        read = source.read_x(replace(request, form=source.stored_form))
        form, empty = request.form, request.context.empty
        return [pack_matrix(x, self._genes, i, form=form, empty=empty) for x in read]


def _merge(
    pieces: Sequence[tuple[Any, Rows]], form: Form, context: ReadContext
) -> Any:  # Any: what the pieces are
    """Return the rows of all pieces, each at its place."""
    if len(pieces) == 1:
        return pieces[0][0]
    return form.merge(pieces, context.empty)
