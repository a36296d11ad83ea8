"""Blosc buffers in scratch memory: whole, or the blocks that hold what is wanted."""

from .compressors import blosc_functions
from .filters import Buffer, CodecError, blosc_header
from .scratch import Scratch

__all__ = ["decode_blosc_range"]


def decode_blosc_range(
    scratch: Scratch, start: int, size: int, low: int, high: int, n_bytes: int
) -> Buffer | None:
    """Decode some bytes of a blosc buffer, with the blocks around them.

    Parameters
    ----------
    scratch
        The thread's memory; the result lies in it until the next call.
    start, size
        The buffer is ``scratch.packed[start : start + size]``.
    low, high
        The bytes wanted, at least one.
    n_bytes
        What the whole buffer must decode to.

    Returns
    -------
    plain
        Bytes of which those from `low` to `high` are what was wanted; None where
        C-Blosc cannot be called.

    Raises
    ------
    CodecError
        If the buffer is damaged.
    """
    functions = blosc_functions()
    if functions is None:
        return None
    item_bytes, block_bytes = blosc_header(
        scratch.packed[start : start + size], n_bytes
    )
    scratch.reserve_plain(n_bytes)
    packed, plain = scratch.packed_address + start, scratch.plain_address
    expected = n_bytes
    n_blocks = -(-n_bytes // max(block_bytes, 1))
    parts = 0 < item_bytes <= block_bytes and n_bytes % item_bytes == 0
    if parts and (high - 1) // block_bytes - low // block_bytes + 1 < n_blocks:
        first = low // item_bytes
        count = -(-high // item_bytes) - first
        expected = count * item_bytes
        n = functions.items(packed, first, count, plain + first * item_bytes)
    else:
        n = functions.whole(packed, plain, n_bytes, 1)
    if n != expected:
        raise CodecError(f"its blosc bytes do not decode to the {n_bytes} declared")
    return scratch.plain[:n_bytes]
