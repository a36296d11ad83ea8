"""Memory budgets: they turn a text such as "2GiB" into a fetch factor."""

from typing import NamedTuple

from .amounts import parse_bytes
from .form import Form
from .sources.base import Source

__all__ = ["RowMemory", "find_batch_size", "find_fetch_factor", "parse_bytes"]


class RowMemory(NamedTuple):
    """What the fetches of a Loader take for one row of each, in mean bytes.

    Parameters
    ----------
    row_bytes
        Mean bytes of a row in memory.
    n_buffers
        Fetches that are in memory at once.
    reading_bytes
        Mean bytes that reading takes besides, for one row of each fetch that is read at
        a time.
    """

    row_bytes: float
    n_buffers: int
    reading_bytes: float = 0.0

    @classmethod
    def of(cls, source: Source, form: Form, *, read_ahead: int = 1) -> "RowMemory":
        """Return what the rows of a source take in the form of X that is asked for."""
        # What a cache holds may come to be read two fetches at a time.
        two = source.concurrent or len(source.cacheable_arrays()) > 0
        n_reading = 2 if two and read_ahead else 1
        reading_bytes = source.reading_bytes(form) * n_reading
        return cls(source.row_bytes(form), read_ahead + 2, reading_bytes)

    @property
    def total(self) -> float:
        """All of it."""
        return self.row_bytes * self.n_buffers + self.reading_bytes


def find_fetch_factor(memory: int | str, row: RowMemory, *, batch_size: int) -> int:
    """Return the largest fetch factor whose buffers fit into `memory`.

    Parameters
    ----------
    memory
        The budget, see :func:`parse_bytes`.
    row
        What a row takes.
    batch_size
        Rows of a minibatch.

    Raises
    ------
    ValueError
        If not even a fetch of one minibatch fits.
    """
    budget = parse_bytes(memory)
    per_batch = row.total * batch_size
    if budget < per_batch:
        besides = (
            f", {row.reading_bytes:,.0f} besides to read one,"
            if row.reading_bytes
            else ""
        )
        raise ValueError(
            f"memory={memory!r} is too little: {row.n_buffers} fetches of one minibatch"
            f" of {batch_size} rows of {row.row_bytes:,.0f} bytes{besides} take"
            f" {per_batch:,.0f} bytes; give more, or a smaller batch_size or read_ahead"
        )
    return max(1, int(budget / max(per_batch, 1.0)))


def find_batch_size(memory: int | str, row: RowMemory, *, most: int) -> int:
    """Return how many rows, at least 1 and at most `most`, a minibatch may have.

    Fetches of one such minibatch fit into `memory`, unless one row alone does not.
    """
    return max(1, min(most, int(parse_bytes(memory) // max(row.total, 1.0))))
