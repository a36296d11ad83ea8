"""Rows of tables, brought from the segments they lie in to their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CorruptFileError
from ..form import Form, pack_dense, pack_rows
from ..storage import ReadContext
from .gene_ids import LEFT_OUT, UNKNOWN
from .genes import GeneJoin, select_columns
from .table_groups import Rows
from .table_x import Segments, TableX

__all__ = ["TableReader"]

Targets = Sequence[npt.NDArray[Any]]


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
        return self.x.genes.selected(self.genes.tables[0])

    def read(
        self, rows: Rows, places: Rows, bounds: Rows, form: Form, context: ReadContext
    ) -> list[Any]:
        """Return X of each part, see `Source.read_batches`."""
        segments = self.x.segments(rows, context)
        which = np.searchsorted(bounds, places, side="right") - 1
        if self.x.sparse:
            return self._sparse(rows, places, bounds, which, segments, form, context)
        return self._dense(rows, places, bounds, which, segments, form, context)

    def _sparse(
        self,
        rows: Rows,
        places: Rows,
        bounds: Rows,
        which: Rows,
        segments: Sequence[Segments],
        form: Form,
        context: ReadContext,
    ) -> list[Any]:
        lengths = np.zeros(len(rows), np.int64)
        for segment in segments:
            lengths[segment.of] += segment.lengths
        ends = np.zeros(len(rows) + 1, np.int64)
        ends[places + 1] = lengths
        np.cumsum(ends, out=ends)
        offsets = ends[places] - ends[bounds[which]]
        sizes = np.diff(ends[bounds]).tolist()
        ids = [segment.ids for segment in segments if segment.ids is not None]
        id_dtype = np.result_type(*ids) if ids else np.dtype(np.int32)
        id_parts = [context.empty(size, id_dtype) for size in sizes]
        value_parts = [context.empty(size, self.x.dtype) for size in sizes]
        tasks = []
        for segment in segments:
            at = offsets[segment.of]
            offsets[segment.of] += segment.lengths
            moves = (segment.starts, segment.lengths, which[segment.of], at)
            pairs = [(segment.values, value_parts), (segment.ids, id_parts)]
            tasks.append(partial(_copy_runs, pairs, moves))
        context.run(tasks)
        of_place = np.empty_like(rows)
        of_place[places] = rows
        out: list[Any] = [None] * len(sizes)

        def pack(part: int) -> None:
            low, high = int(bounds[part]), int(bounds[part + 1])
            starts = ends[low : high + 1] - ends[low]
            mapped = self._mapped(id_parts[part], starts, of_place[low:high])
            values = value_parts[part]
            if len(mapped) and LEFT_OUT in (int(mapped.min()),):
                values, mapped, starts = select_columns(values, mapped, starts)
            out[part] = pack_rows(
                values,
                mapped,
                starts,
                n_vars=len(self.genes.names),
                form=form,
                empty=context.empty,
            )

        context.run([partial(pack, part) for part in range(len(sizes))])
        return out

    def _mapped(
        self, ids: npt.NDArray[Any], starts: Rows, rows: Rows
    ) -> npt.NDArray[np.int32]:
        """Return the column of each gene id, after checking that there is one."""
        if not len(ids):
            return np.empty(0, np.int32)
        # As unsigned numbers, negative ids are the largest: one pass finds both kinds.
        if int(ids.view(f"u{ids.itemsize}").max()) < len(self._columns):
            mapped = self._columns.take(ids)
            if int(mapped.min()) != UNKNOWN:
                return mapped
        wrong = int(np.argmax(~self.x.genes.known(ids)))
        row = int(rows[np.searchsorted(starts, wrong, side="right") - 1])
        raise CorruptFileError(
            f"{self.x.where(row)} has gene id {ids[wrong]}, which is not among the"
            f" {len(self.x.genes.names)} ids of the vocabulary; add it to"
            " open(..., vocabulary={id: name})"
        )

    def _dense(
        self,
        rows: Rows,
        places: Rows,
        bounds: Rows,
        which: Rows,
        segments: Sequence[Segments],
        form: Form,
        context: ReadContext,
    ) -> list[Any]:
        width = len(self.x.genes.names)
        sizes = (np.diff(bounds) * width).tolist()
        parts = [context.empty(size, self.x.dtype) for size in sizes]
        offsets = (places - bounds[which]) * width
        context.run(
            [
                partial(
                    _copy_runs,
                    [(s.values, parts)],
                    (s.starts, s.lengths, which[s.of], offsets[s.of]),
                )
                for s in segments
            ]
        )
        columns = self.genes.stored_columns(0)
        out: list[Any] = [None] * len(parts)

        def pack(part: int) -> None:
            x = parts[part].reshape(-1, width)
            if columns is not None:
                x = x[:, columns]
            out[part] = pack_dense(x, form=form, empty=context.empty)

        context.run([partial(pack, part) for part in range(len(parts))])
        return out


def _copy_runs(
    pairs: Sequence[tuple[Any, Targets]],  # Any: an array; ids of dense rows are None
    moves: tuple[Rows, Rows, Rows, Rows],
) -> None:
    """Copy runs of elements; those that stay neighbours as one."""
    starts, lengths, which, offsets = moves
    joined = (
        (starts[1:] == starts[:-1] + lengths[:-1])
        & (which[1:] == which[:-1])
        & (offsets[1:] == offsets[:-1] + lengths[:-1])
    )
    first = np.flatnonzero(np.append(True, ~joined))
    lengths = np.add.reduceat(lengths, first)
    runs = [column[first].tolist() for column in (starts, which, offsets)]
    for source, targets in pairs:
        for start, part, offset, length in zip(*runs, lengths.tolist(), strict=True):
            targets[part][offset : offset + length] = source[start : start + length]
