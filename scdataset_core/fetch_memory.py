"""Memory budgets: they turn a text such as "2GiB" into a fetch factor."""

import re

__all__ = ["find_fetch_factor", "parse_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(amount: int | str) -> int:
    """Return a number of bytes given as an integer or as text.

    Parameters
    ----------
    amount
        A number, or text such as ``"2GiB"``, ``"500 MB"`` or ``"1e9"``; kB, MB, GB, TB
        are powers of 1,000 and KiB, MiB, GiB, TiB of 1,024.

    Raises
    ------
    ValueError
        If the text cannot be read or the amount is not positive.

    Examples
    --------
    >>> parse_bytes("2GiB"), parse_bytes("1.5 MB"), parse_bytes(4096)
    (2147483648, 1500000, 4096)
    """
    text = str(amount).strip()
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?", text.lower())
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or number <= 0 or (match[3] and not match[2]):
        raise ValueError(
            f'memory must be a positive number of bytes such as "2GiB", got {amount!r}'
        )
    return int(number * (_BINARY if match[3] else _UNITS)[match[2]])


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
