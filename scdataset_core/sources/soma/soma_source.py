"""Cells in TileDB-SOMA experiments: one, or several as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import digest
from ...errors import FileFormatError
from ..fingerprints import fingerprint
from ..genes.joins import GeneJoin
from ..matrix_rows import read_matrix
from ..obs.columns import Column
from ..obs.joined_columns import JoinedColumns
from ..obs.obs_readers import FileObs, SourceWithObs
from ..read_request import ReadRequest
from ..rows import Rows, cut_by_file
from ..summaries import describe_files, show_source
from .coordinates import SomaX
from .obs_columns import SomaKept, SomaText

__all__ = ["SomaCells", "SomaSource"]


@dataclass(frozen=True)
class SomaCells:
    """Where the cells of one experiment lie, and the genes and labels that are wanted.

    Parameters
    ----------
    file
        Its name.
    x
        Where X lies.
    var_names
        Names of the columns of X.
    obs
        The columns asked for.
    names
        Names of the cells, where they were asked for.
    notices
        Warnings for the user.
    """

    file: str
    x: SomaX
    var_names: npt.NDArray[np.object_]
    obs: dict[str, Column]
    names: SomaText | None = None
    notices: tuple[str, ...] = ()


class SomaSource(SourceWithObs):
    """Cells in one or more experiments, in the order of their ``soma_joinid``.

    Made by :func:`scdataset_core.open`.

    Parameters
    ----------
    experiments
        The experiments.
    genes
        How their genes are joined.
    obs
        The columns carried.
    """

    def __init__(
        self, experiments: Sequence[SomaCells], genes: GeneJoin, obs: JoinedColumns
    ) -> None:
        self.files = tuple(one.file for one in experiments)
        self._xs = tuple(one.x for one in experiments)
        self._genes = genes
        self.file_starts = np.cumsum([0, *(x.ids.n for x in self._xs)], dtype=np.int64)
        self.sparse = self._xs[0].sparse
        for file, x in zip(self.files, self._xs, strict=True):
            if x.sparse != self.sparse:
                raise FileFormatError(
                    f"{x.array.path} is {_form(self.sparse)} in {self.files[0]} and"
                    f" {_form(x.sparse)} in {file}; write it the same way in all"
                )
        self.dtype = np.result_type(*(x.dtype for x in self._xs))
        names = [one.names for one in experiments]
        own = [notice for one in experiments for notice in one.notices]
        # A query reads what batches want, so that no large column is kept.
        kept = SomaKept([*obs.numbers(), *(array for array, _ in obs.codes())])
        reader = FileObs(obs, names, self.file_starts, kept)
        self._set_obs(reader, genes.names, own)
        self.genes_report = genes.report
        self._blocks = tuple(x.block_rows() for x in self._xs)
        pairs = zip(self._xs, self._blocks, strict=True)
        self.natural_block = round(np.median([min(b, x.ids.n) for x, b in pairs]))

    def __repr__(self) -> str:
        counts = f"{self.mean_stored:,.0f} stored values a cell"
        lines = [
            f"X: {self._xs[0].array.path}, {_form(self.sparse)} {self.dtype}, {counts},"
            f" about {self.natural_block:,} cells a storage tile"
        ]
        return show_source(self, describe_files(self.files), lines)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row counts, stored counts, genes, and the cells of queries."""
        facts = {
            "x": [x.array.path for x in self._xs],
            "rows": [x.ids.n for x in self._xs],
            "stored": [x.n_stored for x in self._xs],
            "genes": self.var_names,
            "cells": [
                x.ids.first if x.ids.ids is None else digest(x.ids.ids)
                for x in self._xs
            ],
        }
        return fingerprint(facts)

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
        pairs = zip(self._xs, self._genes.column_maps, strict=True)
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
        return read_matrix(
            self._matrix(unique),
            request.for_rows(at.astype(np.int64)),
            dtype=self.dtype,
            name_row=lambda row: f"row {unique[row]} of X",
        )

    def _matrix(self, rows: Rows) -> Any:  # Any: ndarray or CSR
        """Return X at increasing rows, none twice."""
        cuts = cut_by_file(rows, self.file_starts)
        pieces = [
            self._xs[file].read(
                rows[start:stop] - self.file_starts[file],
                self._genes.column_maps[file],
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


def _form(sparse: bool) -> str:
    return "sparse" if sparse else "dense"
