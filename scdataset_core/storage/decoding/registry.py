"""Finds the decoder of a filter; :func:`register_decoder` adds one."""

from collections.abc import Iterable
from typing import Any

from ...checks import install_command
from .compressors import decompressor
from .filters import (
    BLOSC,
    DEFLATE,
    FLETCHER32,
    LZ4,
    LZF,
    SHUFFLE,
    ZSTD,
    CodecError,
    Decoder,
    Filter,
    decode_blosc,
    decode_fletcher32,
    decode_lz4,
    decode_lzf,
    decode_shuffle,
    decode_zstd,
    lzf_decompressor,
)
from .zarr_filters import (
    CRC32C,
    GZIP,
    LZ4_SIZED,
    decode_crc32c,
    decode_gzip,
    decode_lz4_sized,
)

__all__ = [
    "find_decoder",
    "know_filters",
    "known_filters",
    "missing_install",
    "number_of_zarr_codec",
    "register_decoder",
]

_decoders: dict[int, Decoder] = {
    SHUFFLE: decode_shuffle,
    FLETCHER32: decode_fletcher32,
    LZF: decode_lzf,
    BLOSC: decode_blosc,
    LZ4: decode_lz4,
    ZSTD: decode_zstd,
    GZIP: decode_gzip,
    LZ4_SIZED: decode_lz4_sized,
    CRC32C: decode_crc32c,
}
_zarr_numbers = {
    "blosc": BLOSC,
    "crc32c": CRC32C,
    "gzip": GZIP,
    "lz4": LZ4_SIZED,
    "shuffle": SHUFFLE,
    "zlib": DEFLATE,
    "zstd": ZSTD,
}
# The compressor in numcodecs that a decoder calls.
_NEEDED: dict[Decoder | None, str] = {
    decode_blosc: "blosc",
    decode_lz4: "lz4",
    decode_zstd: "zstd",
}


def register_decoder(
    code: int, decoder: Decoder, *, zarr_name: str | None = None
) -> None:
    """Have chunks with a filter decoded by `decoder`, on the threads that read.

    Call it before files are opened, and in every process that opens or reads them.

    Parameters
    ----------
    code
        Number of the filter, as registered with the HDF Group. For a codec that HDF5
        does not have, any number from 2**17 on.
    decoder
        A function ``(data, n_bytes, step)`` of the stored bytes, the number of bytes
        that they must decode to, and the :class:`Filter` with its parameters. It
        returns exactly `n_bytes` bytes, or raises :class:`CodecError`; several threads
        call it at a time.
    zarr_name
        Name of the codec in the metadata of zarr arrays, where zarr has it too. The
        `values` of its `Filter` are empty: a codec that needs its configuration to be
        undone cannot be registered. Zarr itself must know the codec to open the array.

    Examples
    --------
    A data set whose filter is bzip2 (number 307), which HDF5 itself lacks:

    >>> import bz2, h5py
    >>> import numpy as np
    >>> counts = np.arange(100, dtype="<i4")
    >>> with h5py.File("bzip2.h5", "w") as file:
    ...     settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    ...     settings.set_chunk((100,))
    ...     settings.set_filter(307, h5py.h5z.FLAG_OPTIONAL)
    ...     space = h5py.h5s.create_simple(counts.shape)
    ...     kind = h5py.h5t.STD_I32LE
    ...     data = h5py.h5d.create(file.id, b"counts", kind, space, settings)
    ...     data.write_direct_chunk((0,), bz2.compress(counts.tobytes()))

    Its decoder, and a read of it:

    >>> from scdataset_core.storage import CodecError, StoredArray
    >>> def decode_bzip2(data, n_bytes, step):
    ...     try:
    ...         return bz2.BZ2Decompressor().decompress(data, max_length=n_bytes)
    ...     except OSError as error:
    ...         raise CodecError(str(error)) from error
    >>> register_decoder(307, decode_bzip2)
    >>> with h5py.File("bzip2.h5", "r") as file:
    ...     array = StoredArray.from_hdf5(file["counts"])
    >>> array.read(40, 45).tolist()
    [40, 41, 42, 43, 44]
    """
    _decoders[code] = decoder
    if zarr_name is not None:
        _zarr_numbers[zarr_name] = code


def find_decoder(step: Filter) -> Decoder | None:
    """Return the decoder of a filter, or None where there is none here."""
    if step.code == LZF and lzf_decompressor() is None:
        return None
    return _decoders.get(step.code)


def known_filters() -> tuple[int, ...]:
    """Return the numbers of all filters that something here decodes."""
    return tuple(_decoders)


def know_filters(codes: Iterable[int]) -> None:
    """Take filters for known in this process, which describes files for another one."""
    for code in codes:
        _decoders.setdefault(code, _decode_elsewhere)


def _decode_elsewhere(data: Any, n_bytes: int, step: Filter) -> Any:
    raise CodecError(f"the filter {step} is decoded by another process")


def number_of_zarr_codec(name: str) -> int | None:
    """Return the number of the filter for a codec of zarr, or None if it is unknown."""
    return _zarr_numbers.get(name)


def missing_install(step: Filter) -> str | None:
    """Return the command that installs what a filter's decoder needs and lacks."""
    name = _NEEDED.get(_decoders.get(step.code))
    try:
        if name is not None:
            decompressor(name)
    except ModuleNotFoundError:
        return install_command("codecs")
    return None
