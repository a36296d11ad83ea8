"""Some rows of a source, in any order: what a view of one is."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import digest
from ..base import Source
from ..contents import Contents
from ..obs.cell_labels import SourceTags, TaggedSource, Tags
from ..ranged.row_arrays import Rows
from ..read_request import ReadRequest
from ..summaries import shown, where

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PickedSource"]


class PickedSource(TaggedSource):
    """Rows of another source.

    Holds 8 bytes a row.

    Parameters
    ----------
    source
        The source.
    at
        Which of its rows, in the order wanted; repeats are allowed.
    tags
        Labels of these rows; those of `source` by default.
    """

    def __init__(self, source: Source, at: Rows, tags: Tags | None = None) -> None:
        self._source = source
        self._at = at
        self.files = source.files
        self.file_starts = np.array([0, len(at)], np.int64)
        self.sparse = source.sparse
        self.dtype = source.dtype
        self.concurrent = source.concurrent
        self.natural_block = source.natural_block
        self.genes_report = source.genes_report
        tags = SourceTags(source, at) if tags is None else tags
        self.notices = tuple(dict.fromkeys([*source.notices, *tags.notices]))
        self._carry(tags, source.var_names)

    def __repr__(self) -> str:
        n_obs = len(self._source)
        form = "sparse" if self.sparse else "dense"
        files = f" {where(self.files)}" if self.files else " in memory"
        picked = f"picked from {n_obs:,}{files}"
        return shown(self, picked, [f"X: {form} {self.dtype}"])

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes, of the whole source."""
        return self._source.var

    @property
    def contents(self) -> Contents | None:
        """Names of what the source holds."""
        return self._source.contents

    @property
    def fingerprint(self) -> str:
        """A digest of the source and of the rows of it."""
        text = f"{self._source.fingerprint} {digest(self._at)}".encode()
        return hashlib.sha256(text).hexdigest()[:32]

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row of the whole source."""
        return self._source.mean_stored

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row of the whole source."""
        return self._source.longest_row()

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        return self._source.read_x(request.for_rows(self._at[request.rows]))
