"""Reads the rows of tables: copies their segments to their places in minibatches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ...form import pack_dense, pack_rows
from ..genes.joins import GeneJoin, select_columns
from ..genes.numbered_genes import LEFT_OUT, UNKNOWN
from ..read_request import ReadRequest
from ..rows import Moves
from .list_columns import Segments, TableX
from .row_groups import Rows

__all__ = ["TableReader"]

Targets = Sequence[npt.NDArray[Any]]

# Rows at most this many elements apart are looked up together, with what is between.
_GAP = 256


@dataclass(frozen=True)
class TableReader:
    """Reads rows of a table.

    Parameters
    ----------
    x
        Where X lies.
    genes
        Which of its genes are kept.
    """

    x: TableX
    genes: GeneJoin

    @cached_property
    def _columns(self) -> npt.NDArray[np.int32]:
        """The column of the source for each gene id."""
        return self.x.genes.select(self.genes.column_maps[0])

    def read(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see `Source.read_x`."""
        segments = self.x.segments(request.rows, request.context)
        read = self._read_sparse if self.x.sparse else self._read_dense
        return read(request, segments)

    def _read_sparse(
        self, request: ReadRequest, segments: Sequence[Segments]
    ) -> list[Any]:
        rows, places, bounds = request.rows, request.places, request.bounds
        which, context = request.batch_of_row, request.context
        lengths = np.zeros(len(rows), np.int64)
        for segment in segments:
            lengths[segment.of] += segment.lengths
        ends = np.zeros(len(rows) + 1, np.int64)
        ends[places + 1] = lengths
        np.cumsum(ends, out=ends)
        offsets = ends[places] - ends[bounds[which]]
        sizes = np.diff(ends[bounds]).tolist()
        columns = [context.empty(size, np.int32) for size in sizes]
        values = [context.empty(size, self.x.dtype) for size in sizes]
        tasks = []
        for segment in segments:
            at = offsets[segment.of]
            offsets[segment.of] += segment.lengths
            moves = Moves(segment.starts, segment.lengths, which[segment.of], at)
            tasks.append(partial(self._copy_segment, segment, moves, values, columns))
        context.run(tasks)

        def pack(part: int) -> Any:
            low, high = int(bounds[part]), int(bounds[part + 1])
            starts = ends[low : high + 1] - ends[low]
            mine = (values[part], columns[part], starts)
            least = int(columns[part].min(initial=0))
            if least == UNKNOWN:
                raise self._unknown_gene_error(segments, rows)
            if least == LEFT_OUT:
                mine = select_columns(*mine)
            return pack_rows(
                *mine,
                n_vars=len(self.genes.names),
                form=request.form,
                empty=context.empty,
                name_row=lambda row: self.x.where(int(request.batch_rows(part)[row])),
            )

        return request.make_batches(pack)

    def _copy_segment(
        self, segment: Segments, moves: Moves, values: Targets, columns: Targets
    ) -> None:
        """Copy values and columns of a segment to their places in the minibatches."""
        ids = segment.ids
        assert ids is not None
        moves.copy(segment.values, values)
        # Neighbours are looked up together, while they are in the processor's cache.
        if segment.id_starts is not None:
            moves = moves._replace(starts=segment.id_starts)
        stops = moves.stops
        apart = (moves.starts[1:] < moves.starts[:-1]) | (
            moves.starts[1:] > stops[:-1] + _GAP
        )
        bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(stops)]
        for first, last in pairwise(bounds):
            low, high = int(moves.starts[first]), int(stops[first:last].max())
            some = Moves(*(column[first:last] for column in moves))
            looked_up = self._columns_of(ids[low:high])
            some._replace(starts=some.starts - low).copy(looked_up, columns)

    def _columns_of(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Return the column of each gene id."""
        # Seen as unsigned, negative ids are the largest: one pass finds both kinds.
        unsigned = ids.view(f"u{ids.itemsize}")
        if int(unsigned.max(initial=0)) < len(self._columns):
            return self._columns.take(ids)
        columns = np.full(len(ids), UNKNOWN, np.int32)
        inside = unsigned < len(self._columns)
        columns[inside] = self._columns[ids[inside].astype(np.int64)]
        return columns

    def _unknown_gene_error(
        self, segments: Sequence[Segments], rows: Rows
    ) -> CorruptFileError:
        """Return the error for the first gene id that has no name."""
        for segment in segments:
            assert segment.ids is not None
            starts = segment.starts if segment.id_starts is None else segment.id_starts
            for of, start, length in zip(
                segment.of.tolist(),
                starts.tolist(),
                segment.lengths.tolist(),
                strict=True,
            ):
                ids = segment.ids[start : start + length]
                wrong = ids[~self.x.genes.known(ids)]
                if len(wrong):
                    return CorruptFileError(
                        f"{self.x.where(int(rows[of]))} has gene id {wrong[0]}, which"
                        f" is not among the {len(self.x.genes.names)} ids of the"
                        " vocabulary; add it to open(..., vocabulary={id: name})"
                    )
        raise AssertionError("a gene id was unknown, and is not any more")

    def _read_dense(
        self, request: ReadRequest, segments: Sequence[Segments]
    ) -> list[Any]:
        width, context = len(self.x.genes.names), request.context
        dense = [context.empty(n * width, self.x.dtype) for n in request.batch_sizes]
        which, offsets = request.batch_of_row, request.position_of_row * width
        context.run(
            [
                partial(
                    Moves(s.starts, s.lengths, which[s.of], offsets[s.of]).copy,
                    s.values,
                    dense,
                )
                for s in segments
            ]
        )
        columns = self.genes.stored_columns(0)

        def pack(batch: int) -> Any:
            x = dense[batch].reshape(-1, width)
            if columns is not None:
                x = x[:, columns]
            return pack_dense(
                x,
                form=request.form,
                empty=context.empty,
                name_row=lambda row: self.x.where(int(request.batch_rows(batch)[row])),
            )

        return request.make_batches(pack)
