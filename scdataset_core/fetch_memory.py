"""Memory budgets: they turn a text such as "2GiB" into a fetch factor."""

from .amounts import parse_bytes

__all__ = ["find_fetch_factor", "parse_bytes"]


def find_fetch_factor(
    memory: int | str,
    *,
    row_bytes: float,
    batch_size: int,
    n_buffers: int,
    reading_bytes: float = 0.0,
) -> int:
    """Return the largest fetch factor whose buffers fit into `memory`.

    Parameters
    ----------
    memory
        The budget, see :func:`parse_bytes`.
    row_bytes
        Mean bytes of a row in memory.
    batch_size
        Rows of a minibatch.
    n_buffers
        Fetches that are in memory at once.
    reading_bytes
        Mean bytes that reading takes besides, for one row of each fetch that is read at
        a time.

    Raises
    ------
    ValueError
        If not even a fetch of one minibatch fits.
    """
    budget = parse_bytes(memory)
    per_batch = (row_bytes * n_buffers + reading_bytes) * batch_size
    if budget < per_batch:
        besides = (
            f", {reading_bytes:,.0f} besides to read one," if reading_bytes else ""
        )
        raise ValueError(
            f"memory={memory!r} is too little: {n_buffers} fetches of one minibatch of"
            f" {batch_size} rows of {row_bytes:,.0f} bytes{besides} take"
            f" {per_batch:,.0f} bytes; give more, or a smaller batch_size or read_ahead"
        )
    return max(1, int(budget / max(per_batch, 1.0)))
