"""The codecs of zarr arrays as pipelines of filters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import FileFormatError
from ..decoding.deflate import streaming
from ..decoding.filters import (
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
from ..decoding.pipeline import Pipeline

__all__ = ["check_codecs", "crc32c_of", "pipeline_of", "unknown_codec"]

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

# What brings codecs that numcodecs has only beside another package.
_EXTRAS = {
    "crc32c": "crc32c",
    "msgpack2": "msgpack",
    "pcodec": "pcodec",
    "zfpy": "zfpy",
}


def check_codecs(where: str, metadata: Mapping[str, Any]) -> None:
    """Refuse an array whose codecs run what is stored, or are not installed.

    Zarr looks for some codecs when it first decodes, so they are looked for here.

    Parameters
    ----------
    where
        The array, for errors.
    metadata
        Its description, of version 2 or 3.

    Raises
    ------
    FileFormatError
        If one of them is `pickle`, wherever it stands, or is unknown to numcodecs.
    """
    if metadata["zarr_format"] == 2:
        steps = [*(metadata.get("filters") or ()), metadata.get("compressor")]
        names = [str(step["id"]) for step in steps if step is not None]
    else:
        names = list(_names(metadata["codecs"]))
    for name in names:
        if name.removeprefix("numcodecs.") == "pickle":
            raise _pickled(where)
    for name in names:
        # Version 2 knows no others, and zarr has looked for those.
        if name.startswith("numcodecs.") and not _in_numcodecs(name):
            raise _not_installed(where, name)


def unknown_codec(where: str, error: Exception) -> FileFormatError | None:
    """Return what to say of zarr's error where it is about a codec; else None."""
    text = str(error)
    if "'pickle'" in text:
        return _pickled(where)
    if type(error).__name__ != "UnknownCodecError":
        return None
    name = text.split(":")[-1].strip(" '\"")
    return _not_installed(where, name)


def _names(codecs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names of codecs of version 3, with those inside of shards."""
    for codec in codecs:
        yield str(codec["name"])
        options = codec.get("configuration") or {}
        for inner in ("codecs", "index_codecs"):
            yield from _names(options.get(inner) or ())


def _in_numcodecs(name: str) -> bool:
    from numcodecs.registry import codec_registry, entries

    plain = name.removeprefix("numcodecs.")
    return plain in codec_registry or plain in entries


def _pickled(where: str) -> FileFormatError:
    return FileFormatError(
        f"{where} holds pickled objects (codec pickle), which could run any code when"
        " read; write it again as text or numbers"
    )


def _not_installed(where: str, name: str) -> FileFormatError:
    plain = name.removeprefix("numcodecs.")
    how = "install the package that brings it, and import that before open()"
    if plain in _EXTRAS:
        how = f"pip install 'numcodecs[{_EXTRAS[plain]}]'"
    elif plain.startswith("imagecodecs"):
        how = (
            "pip install imagecodecs, and call imagecodecs.numcodecs.register_codecs()"
        )
    return FileFormatError(
        f"{where} is encoded with the codec {name}, which is not installed: {how}"
    )


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
