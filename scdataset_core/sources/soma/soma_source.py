"""Cells in TileDB-SOMA experiments: one, or several as one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...checks import digest
from ...errors import FileFormatError
from ...storage import ReadContext
from ..base import Source
from ..genes.joins import GeneJoin
from ..memory.array_source import source_of
from ..obs.columns import Column
from ..obs.joined_columns import ObsTable, cut_by_file, text_at
from ..options import OpenOptions
from ..ranged.row_arrays import Rows
from ..read_request import ReadRequest
from ..summaries import shown, where
from .coordinates import SomaX
from .obs_columns import SomaKept, SomaText

__all__ = ["SomaPart", "SomaSource"]


@dataclass(frozen=True)
class SomaPart:
    """One experiment: what is wanted of it.

    Parameters
    ----------
    file
        What it is called.
    x
        Where X lies.
    var_names
        Names of the columns of X.
    obs
        The columns asked for.
    names
        Names of the cells, where they were asked for.
    notices
        What the user should be warned of.
    """

    file: str
    x: SomaX
    var_names: npt.NDArray[np.object_]
    obs: dict[str, Column]
    names: SomaText | None = None
    notices: tuple[str, ...] = ()


class SomaSource(Source):
    """Cells in one or more experiments, in the order of their ``soma_joinid``.

    Made by :func:`scdataset_core.open`.

    Parameters
    ----------
    parts
        The experiments.
    genes
        How their genes are joined.
    obs
        The columns carried.
    """

    def __init__(
        self, parts: Sequence[SomaPart], genes: GeneJoin, obs: ObsTable
    ) -> None:
        self.files = tuple(part.file for part in parts)
        self._xs = tuple(part.x for part in parts)
        self._texts = tuple(part.names for part in parts)
        self._genes = genes
        self._obs = obs
        self.file_starts = np.cumsum([0, *(x.ids.n for x in self._xs)])
        self.sparse = self._xs[0].sparse
        for file, x in zip(self.files, self._xs, strict=True):
            if x.sparse != self.sparse:
                raise FileFormatError(
                    f"{x.array.path} is {_form(self.sparse)} in {self.files[0]} and"
                    f" {_form(x.sparse)} in {file}; write it the same way in all"
                )
        self.dtype = np.result_type(*(x.dtype for x in self._xs))
        self.info = CellInfo(genes.names, obs.categories, obs.ordered)
        own = [notice for part in parts for notice in part.notices]
        self.notices = (*obs.notices, *own)
        self.genes_report = genes.report
        self._blocks = tuple(x.block_rows() for x in self._xs)
        pairs = zip(self._xs, self._blocks, strict=True)
        self.natural_block = round(np.median([min(b, x.ids.n) for x, b in pairs]))
        self._kept = SomaKept(obs.arrays)
        none = np.empty((0, len(genes.names)), self.dtype)
        self._like = source_of(self._matrix_of(none), genes.names, {}, None, _PLAIN)

    def __repr__(self) -> str:
        counts = f"{self.mean_stored:,.0f} stored values a cell"
        lines = [
            f"X: {self._xs[0].array.path}, {_form(self.sparse)} {self.dtype}, {counts},"
            f" about {self.natural_block:,} cells a storage tile"
        ]
        return shown(self, where(self.files), lines)

    @property
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the obs columns that batches carry."""
        return tuple(self._obs.columns)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row counts, stored counts, genes, and the cells of queries."""
        facts = {
            "x": [x.array.path for x in self._xs],
            "rows": [x.ids.n for x in self._xs],
            "stored": [x.n_stored for x in self._xs],
            "genes": [str(name) for name in self.var_names],
            "cells": [
                x.ids.first if x.ids.ids is None else digest(x.ids.ids)
                for x in self._xs
            ],
        }
        text = json.dumps(facts, sort_keys=True).encode()
        return hashlib.sha256(text).hexdigest()[:32]

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row of the whole experiments."""
        if not self.sparse:
            return float(self.shape[1])
        n_cells = sum(x.n_cells for x in self._xs)
        return sum(x.n_stored for x in self._xs) / max(n_cells, 1)

    @cached_property
    def _longest(self) -> int:
        n_vars = len(self.var_names)
        pairs = zip(self._xs, self._genes.tables, strict=True)
        return max(x.longest(table, n_vars) for x, table in pairs)

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row, reading all once."""
        return self._longest if self.sparse else self.shape[1]

    @property
    def block_starts(self) -> Rows:
        """First row of the cells in each tile of X, on its grid of ``soma_joinid``."""
        starts = []
        for start, x, block in zip(
            self.file_starts[:-1], self._xs, self._blocks, strict=True
        ):
            tile = x.ids.cut(0, x.ids.n) // block
            starts.append(start + np.flatnonzero(np.diff(tile, prepend=-1)))
        return np.concatenate(starts)

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        unique, at = np.unique(request.rows, return_inverse=True)
        like = self._like.over(self._matrix(unique), unique)
        return like.read_x(request.for_rows(at.astype(np.int64)))

    def _matrix(self, rows: Rows) -> Any:  # Any: ndarray or CSR
        """Return X at increasing rows, none twice."""
        cuts = cut_by_file(rows, self.file_starts)
        pieces = [
            self._xs[file].read(
                rows[start:stop] - self.file_starts[file],
                self._genes.tables[file],
                len(self.var_names),
            )
            for file, start, stop in cuts
        ]
        if len(pieces) == 1:
            return pieces[0]
        if not self.sparse or not pieces:
            none = np.empty((0, len(self.var_names)), self.dtype)
            return self._matrix_of(np.concatenate([none, *pieces]))
        from scipy.sparse import vstack

        return vstack(pieces, format="csr")

    def _matrix_of(self, dense: npt.NDArray[Any]) -> Any:  # Any: ndarray or CSR
        from scipy.sparse import csr_array

        return csr_array(dense) if self.sparse else dense

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the carried columns at `rows`, see :meth:`Source.read_obs`."""
        return self._obs.read(rows, self.file_starts, self._kept, context, names)

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        if self._texts[0] is None:
            return None
        return text_at(self._texts, rows, self.file_starts)


_PLAIN = OpenOptions()


def _form(sparse: bool) -> str:
    return "sparse" if sparse else "dense"
