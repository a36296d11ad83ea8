"""The codecs of zarr arrays as pipelines of filters."""

from collections.abc import Mapping, Sequence
from typing import Any

from .codecs import Pipeline
from .filters import (
    BLOSC,
    CHECKSUM_BYTES,
    DEFLATE,
    SHUFFLE,
    ZSTD,
    Buffer,
    CodecError,
    Filter,
    decompressed,
    register_decoder,
)
from .inflate import streaming

__all__ = ["crc32c_of", "pipeline_of"]

# Codecs that HDF5 has no number for; its own stay below 2**16.
GZIP, LZ4_SIZED, CRC32C = range(1 << 16, (1 << 16) + 3)

_CODES = {
    "blosc": BLOSC,
    "crc32c": CRC32C,
    "gzip": GZIP,
    "lz4": LZ4_SIZED,
    "shuffle": SHUFFLE,
    "zlib": DEFLATE,
    "zstd": ZSTD,
}
_WINDOW_GZIP = 31  # zlib's number for a gzip header, and its largest window
_SIZE_BYTES = 4
# numcodecs has codecs of these names, with another layout than zarr's own.
_ONLY_ZARRS = {"crc32c"}


def pipeline_of(codecs: Sequence[Mapping[str, Any]]) -> Pipeline | str:
    """Return how chunks are encoded, or the name of a codec unknown here.

    Parameters
    ----------
    codecs
        The codecs from bytes to bytes in the order of writing, as metadata of version
        3 has them: ``{"name": ..., "configuration": {...}}``.
    """
    steps = []
    for position, codec in enumerate(codecs):
        full_name = str(codec["name"])
        name = full_name.removeprefix("numcodecs.")
        code = _CODES.get(name)
        alien = name != full_name and name in _ONLY_ZARRS
        last = position == len(codecs) - 1
        if code is None or alien or (code == CRC32C and not last):
            return full_name
        values: tuple[int, ...] = ()
        options = codec.get("configuration") or {}
        if code == SHUFFLE:
            values = (int(options.get("elementsize", 4)),)
        elif code == BLOSC:  # as HDF5 numbers them: two versions, and the item's size
            values = (0, 0, int(options.get("typesize") or 0))
        steps.append(Filter(code, name, values))
    return Pipeline(tuple(steps))


def crc32c_of(data: Buffer) -> int:
    """Return the CRC-32C checksum of `data`."""
    import google_crc32c

    checksum: int = google_crc32c.value(bytes(data))
    return checksum


def _decode_crc32c(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    view = memoryview(data)
    stored = view[-CHECKSUM_BYTES:]
    if len(stored) < CHECKSUM_BYTES:
        raise CodecError("it is too short for its checksum")
    if crc32c_of(view[:-CHECKSUM_BYTES]) != int.from_bytes(stored, "little"):
        raise CodecError("its checksum (crc32c) does not match its bytes")
    return view[:-CHECKSUM_BYTES]


def _decode_gzip(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    module, failure = streaming()
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


def _decode_lz4_sized(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decode numcodecs' framing of LZ4: the size, then one block."""
    view = memoryview(data)
    declared = int.from_bytes(view[:_SIZE_BYTES], "little")
    if len(view) <= _SIZE_BYTES or declared != n_bytes:
        raise CodecError(
            f"its lz4 header says {declared} bytes, where {n_bytes} were declared"
        )
    return decompressed("lz4", view[_SIZE_BYTES:], n_bytes)


register_decoder(GZIP, _decode_gzip)
register_decoder(LZ4_SIZED, _decode_lz4_sized)
register_decoder(CRC32C, _decode_crc32c)
