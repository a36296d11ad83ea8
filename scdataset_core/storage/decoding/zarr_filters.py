"""The filters that zarr has and HDF5 lacks, and their decoders."""

from .deflate import streaming_module
from .filters import CHECKSUM_BYTES, Buffer, CodecError, Filter, decompress

__all__ = ["crc32c_of", "decode_crc32c", "decode_gzip", "decode_lz4_sized"]

# HDF5 has no numbers for these; its own stay below 2**16.
GZIP, LZ4_SIZED, CRC32C = range(1 << 16, (1 << 16) + 3)

_WINDOW_GZIP = 31  # zlib's number for a gzip header, and its largest window
_SIZE_BYTES = 4


def crc32c_of(data: Buffer) -> int:
    """Return the CRC-32C checksum of `data`."""
    import google_crc32c

    checksum: int = google_crc32c.value(bytes(data))
    return checksum


def decode_crc32c(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Check a CRC-32C, and cut it off."""
    view = memoryview(data)
    stored = view[-CHECKSUM_BYTES:]
    if len(stored) < CHECKSUM_BYTES:
        raise CodecError("it is too short for its checksum")
    if crc32c_of(view[:-CHECKSUM_BYTES]) != int.from_bytes(stored, "little"):
        raise CodecError("its checksum (crc32c) does not match its bytes")
    return view[:-CHECKSUM_BYTES]


def decode_gzip(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decompress a gzip stream."""
    module, failure = streaming_module()
    decoder = module.decompressobj(_WINDOW_GZIP)
    try:
        plain: bytes = decoder.decompress(data, n_bytes + 1)
    except failure as error:
        raise CodecError("its compressed bytes are not a whole gzip stream") from error
    if len(plain) != n_bytes or not decoder.eof:
        raise CodecError(
            f"its gzip bytes do not decode to the {n_bytes} bytes declared"
        )
    return plain


def decode_lz4_sized(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decode numcodecs' framing of LZ4: the size, then one block."""
    view = memoryview(data)
    declared = int.from_bytes(view[:_SIZE_BYTES], "little")
    if len(view) <= _SIZE_BYTES or declared != n_bytes:
        raise CodecError(
            f"its lz4 header says {declared} bytes, where {n_bytes} were declared"
        )
    return decompress("lz4", view[_SIZE_BYTES:], n_bytes)
