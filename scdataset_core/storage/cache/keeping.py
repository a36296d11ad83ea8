"""Keeps the decoded chunks of one array: narrows them, and has them written."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from ..layout import ArrayLayout
from .giant_chunks import GiantWrite
from .narrowing import narrow_rows
from .open_entries import OpenEntry
from .writing import ChunkWrites, Writer

__all__ = ["Keeper"]


class Keeper:
    """Keeps decoded chunks of one array, in one process."""

    def __init__(self) -> None:
        self._synchronous = 0
        self._giants: dict[tuple[int, int], GiantWrite] = {}

    def forget_pieces(self) -> None:
        """Keep no chunk any further of which only some pieces were given."""
        self._giants = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Write chunks at once where they are decoded, while the block runs."""
        self._synchronous += 1
        try:
            yield
        finally:
            self._synchronous -= 1

    def keep(
        self,
        opened: OpenEntry,
        array: ArrayLayout,
        chunks: Sequence[int],
        plain: memoryview,
        writer: Writer,
    ) -> None:
        """Keep decoded chunks, see :meth:`~..layout.ChunkCache.keep`.

        Parameters
        ----------
        opened
            The array's entry.
        array, chunks, plain
            As for that method.
        writer
            Writes them.
        """
        rows = np.frombuffer(plain, array.dtype).reshape(len(chunks), -1)
        kinds, pending = opened.kinds, opened.pending
        new = [
            row
            for row, chunk in enumerate(chunks)
            if not kinds[chunk] and chunk not in pending
        ]
        if not new:
            return
        if len(new) < len(chunks):
            rows = rows[new]
        for kind, which, kept in narrow_rows(rows):
            numbers = [chunks[new[row]] for row in which.tolist()]
            self._submit(opened.plan_writes(array.table, numbers, kind, kept), writer)

    def keep_piece(
        self,
        opened: OpenEntry,
        array: ArrayLayout,
        chunk: int,
        start: int,
        piece: memoryview,
        writer: Writer,
    ) -> None:
        """Keep a piece of a chunk, see :meth:`~..layout.ChunkCache.keep_piece`."""
        key = (threading.get_ident(), chunk)
        if start == 0:
            self._giants.pop(key, None)
            if opened.kinds[chunk] or chunk in opened.pending:
                return
            kind = opened.giant_kinds.get(chunk, 0)
            self._giants[key] = GiantWrite(opened.entry, array, chunk, kind)
        giant = self._giants.get(key)
        if giant is None:
            return
        last = start + len(piece) >= array.needed_grid.n_bytes
        submit = partial(self._submit, writer=writer)
        if not giant.add(start, piece, submit, last=last) or last:
            opened.giant_kinds[chunk] = giant.kind
            self._giants.pop(key, None)

    def _submit(self, write: ChunkWrites, writer: Writer) -> bool:
        """Write chunks, or queue them; return whether they were taken."""
        if self._synchronous:
            writer.write(write)
            return True
        try:
            if writer.submit(write):
                return True
        except BaseException:  # an interrupt too
            write.done(False)
            raise
        write.done(False)
        return False
