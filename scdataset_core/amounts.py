"""Amounts of bytes, given as numbers or as text such as "2GiB"."""

import re

__all__ = ["parse_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(amount: int | str, *, name: str = "memory") -> int:
    """Return a number of bytes given as an integer or as text.

    Parameters
    ----------
    amount
        A number, or text such as ``"2GiB"``, ``"500 MB"`` or ``"1e9"``; kB, MB, GB, TB
        are powers of 1,000 and KiB, MiB, GiB, TiB of 1,024.
    name
        What errors call the amount.

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
            f'{name} must be a positive number of bytes such as "2GiB", got {amount!r}'
        )
    return int(number * (_BINARY if match[3] else _UNITS)[match[2]])
