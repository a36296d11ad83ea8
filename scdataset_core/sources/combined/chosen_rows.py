"""A source of some rows of another source, in any order."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import digest
from ...storage import StoredArray
from ..base import Source
from ..contents import Contents
from ..fingerprints import fingerprint
from ..obs.obs_readers import ChosenObs, ObsReader, SourceObs, SourceWithObs
from ..read_request import ReadRequest
from ..rows import RowMap, Rows
from ..summaries import describe_files, show_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ChosenRowsSource"]


class ChosenRowsSource(SourceWithObs):
    """Rows of another source.

    Parameters
    ----------
    source
        The source.
    rows
        Which of its rows, in the order wanted; repeats are allowed.
    obs
        Reads the obs of these rows; that of `source` by default.
    """

    def __init__(
        self, source: Source, rows: RowMap, obs: ObsReader | None = None
    ) -> None:
        self._source = source
        self._rows = rows
        self.files = source.files
        self.file_starts = np.array([0, len(rows)], np.int64)
        self.cache = source.cache
        self.sparse = source.sparse
        self.dtype = source.dtype
        self.natural_block = source.natural_block
        self.genes_report = source.genes_report
        if obs is None:
            obs = ChosenObs(SourceObs(source), rows)
        self._set_obs(obs, source.var_names, source.notices)

    @property
    def concurrent(self) -> bool:  # type: ignore[override]
        """Whether two threads may read at a time, and gain by it."""
        return self._source.concurrent

    def x_arrays(self) -> list[StoredArray]:
        """Return the arrays that hold X, where ranges of them are read from files."""
        return [array for source in [self._source] for array in source.x_arrays()]

    def __repr__(self) -> str:
        n_obs = len(self._source)
        form = "sparse" if self.sparse else "dense"
        files = f" {describe_files(self.files)}" if self.files else " in memory"
        chosen = f"picked from {n_obs:,}{files}"
        return show_source(self, chosen, [f"X: {form} {self.dtype}"])

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes, of the whole source."""
        return self._source.var

    @property
    def contents(self) -> Contents | None:
        """Names of what the source holds."""
        return self._source.contents

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the source and of the chosen rows."""
        rows = self._rows[np.arange(len(self), dtype=np.int64)]
        return fingerprint([self._source.fingerprint, digest(rows)])

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row of the whole source."""
        return self._source.mean_stored

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row of the whole source."""
        return self._source.longest_row()

    def read_lengths(self, rows: Rows) -> Rows:
        """Return the stored values of non-decreasing rows."""
        return self._source.row_lengths(self._rows[rows])

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        return self._source.read_x(request.for_rows(self._rows[request.rows]))
