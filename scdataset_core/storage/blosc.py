"""Parts of blosc buffers: only the blocks that hold what is wanted are decoded."""

from .compressors import blosc_items
from .filters import Buffer, CodecError, blosc_header
from .scratch import Scratch

__all__ = ["decode_blosc_part"]


def decode_blosc_part(
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
        The bytes wanted.
    n_bytes
        What the whole buffer must decode to.

    Returns
    -------
    plain
        Bytes of which those from `low` to `high` are what was wanted; None where
        there is nothing to be saved, or no way to decode less than all.

    Raises
    ------
    CodecError
        If the buffer is damaged.
    """
    decode = blosc_items()
    if decode is None:
        return None
    item_bytes, block_bytes = blosc_header(
        scratch.packed[start : start + size], n_bytes
    )
    if item_bytes < 1 or block_bytes < item_bytes or n_bytes % item_bytes:
        return None
    first, last = low // item_bytes, -(-high // item_bytes)
    n_blocks = (high - 1) // block_bytes - low // block_bytes + 1
    if n_blocks >= -(-n_bytes // block_bytes):
        return None
    scratch.reserve_plain(n_bytes)
    n = decode(
        scratch.packed_address + start,
        first,
        last - first,
        scratch.plain_address + first * item_bytes,
    )
    if n != (last - first) * item_bytes:
        raise CodecError(f"its blosc bytes do not decode to the {n_bytes} declared")
    return scratch.plain
