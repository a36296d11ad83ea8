"""Some rows of a source, in any order: what a view of one is."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import digest
from ...form import Form
from ...storage import ReadContext
from ..base import Source
from ..contents import Contents
from ..obs.cell_labels import SourceTags, TaggedSource, Tags
from ..ranged.row_arrays import Rows
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
    def _contents(self) -> Contents | None:
        """Names of what the source holds."""
        return self._source._contents

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

    def _read_x(
        self,
        rows: Rows,
        places: Rows,
        bounds: Rows,
        form: Form,
        context: ReadContext,
    ) -> list[Any]:
        inner = self._at[rows]
        if np.all(inner[1:] >= inner[:-1]):
            return self._source._read_x(inner, places, bounds, form, context)
        order = np.argsort(inner, kind="stable")
        return self._source._read_x(inner[order], places[order], bounds, form, context)
