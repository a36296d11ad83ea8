"""Decodes blosc buffers in scratch memory, whole or only the blocks that are wanted."""

import struct

from ..io.scratch_memory import Scratch
from .compressors import blosc_functions
from .filters import BLOSC_HEADER_BYTES, Buffer, CodecError, blosc_header

__all__ = ["decode_blosc_range"]


def decode_blosc_range(
    scratch: Scratch,
    start: int,
    size: int,
    *,
    low: int,
    high: int,
    n_bytes: int,
    item_bytes: int,
) -> Buffer | None:
    """Decode some bytes of a blosc buffer, with the blocks around them.

    A blosc buffer has no checksum. If its header contradicts itself or the metadata
    of the file, all blocks are decoded, so that C-Blosc sees the whole buffer.

    Parameters
    ----------
    scratch
        The thread's memory; the result lies in it until the next call.
    start, size
        The buffer is ``scratch.packed[start : start + size]``.
    low, high
        The bytes wanted, at least one.
    n_bytes
        Size that the whole buffer must decode to.
    item_bytes
        Size of an item by the file's metadata; 0: they do not say it.

    Returns
    -------
    plain
        Bytes, of which those from `low` to `high` are right; None where C-Blosc cannot
        be called.

    Raises
    ------
    CodecError
        If the buffer is damaged.
    """
    functions = blosc_functions()
    if functions is None:
        return None
    data = scratch.packed[start : start + size]
    said_bytes, block_bytes = blosc_header(data, n_bytes)
    packed, plain = scratch.packed_address + start, scratch.reserve_next(n_bytes)
    expected = n_bytes
    parts = 0 < item_bytes == said_bytes and _has_blocks(data, n_bytes, block_bytes)
    parts = parts and block_bytes % item_bytes == n_bytes % item_bytes == 0
    if parts and (high - 1) // block_bytes - low // block_bytes + 1 < (
        -(-n_bytes // block_bytes)
    ):
        first = low // item_bytes
        count = -(-high // item_bytes) - first
        expected = count * item_bytes
        n = functions.items(packed, first, count, plain + first * item_bytes)
    else:
        n = functions.whole(packed, plain, n_bytes, 1)
    if n != expected:
        raise CodecError(f"its blosc bytes do not decode to the {n_bytes} declared")
    return scratch.next_plain(n_bytes)


def _has_blocks(data: memoryview, n_bytes: int, block_bytes: int) -> bool:
    """Return whether the first block starts behind the table of so many blocks."""
    n_blocks = -(-n_bytes // block_bytes) if block_bytes else 0
    table_end = BLOSC_HEADER_BYTES + 4 * n_blocks
    if not n_blocks or table_end > len(data):
        return False
    # Most chunks have few blocks: an array would take longer than their numbers do.
    starts = struct.unpack_from(f"<{n_blocks}I", data, BLOSC_HEADER_BYTES)
    return bool(min(starts) == table_end)
