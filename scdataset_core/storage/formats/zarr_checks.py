"""Has zarr-python look at what a chunk claims of itself before it decodes it.

A chunk of text begins with the number of its entries, each of which begins with its
length (numcodecs' ``vlen-utf8``, ``vlen-bytes`` and ``vlen-array``). Numcodecs takes
memory for that number of entries, 32 GiB at most, before it looks at the first one. So
a codec is put behind these that compares the number with the bytes there are.

Blosc gives zeros for bytes that were cut off its end. So one is put behind it too, that
compares the length in its head with the bytes there are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import zarr
from numcodecs.abc import Codec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.core.array import AsyncArray

__all__ = ["with_checks"]

_NUMBER_BYTES = 4  # of the number of entries, and of the length of each
_NAME = "vlen-"
_BLOSC_BYTES = slice(12, 16)  # where the head of blosc has its own length


def _check_number(data: Any) -> None:  # Any: what memoryview takes
    """Raise if text claims more entries than there can be in its bytes."""
    view = memoryview(data).cast("B")
    n = int.from_bytes(view[:_NUMBER_BYTES], "little")
    most = len(view) // _NUMBER_BYTES - 1
    if n > most:
        raise ValueError(
            f"it claims {n:,} texts, and its {len(view):,} bytes hold {max(most, 0):,}"
            " at most"
        )


def _check_blosc(data: Any) -> None:  # Any: what memoryview takes
    """Raise if a chunk of blosc has not as many bytes as its head says."""
    view = memoryview(data).cast("B")
    n = int.from_bytes(view[_BLOSC_BYTES], "little")
    if len(view) < _BLOSC_BYTES.stop or n != len(view):
        raise ValueError(f"it has {len(view):,} bytes, and its blosc says {n:,}")


Check = Callable[[Any], None]


class _Check2(Codec):  # type: ignore[misc]  # numcodecs counts as untyped
    """Checks what is decoded next in version 2.

    Parameters
    ----------
    check
        Looks at it.
    inner
        The codec that is decoded next, where this stands in its place.
    """

    codec_id = "scdataset_core.checked"

    def __init__(self, check: Check, inner: Codec | None = None) -> None:
        self._check, self._inner = check, inner

    def encode(self, buf: Any) -> Any:
        """Return what is given."""
        return buf

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return what is given, or what it decodes to, after a look at it."""
        self._check(buf)
        return buf if self._inner is None else self._inner.decode(buf, out)


@dataclass(frozen=True)
class _Check3(BytesBytesCodec):  # type: ignore[misc]  # zarr counts as untyped
    """Checks what is decoded next in version 3."""

    check: Check
    is_fixed_size = True

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        self.check(chunk_bytes.as_numpy_array())
        return chunk_bytes

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, _spec: Any) -> int:
        """Return the size that is given."""
        return input_byte_length


def with_checks(array: zarr.Array) -> zarr.Array:
    """Return the same array, whose chunks are looked at before they are decoded."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        filters: list[Any] = []
        for step in metadata.filters or ():
            check = _check_of(step.codec_id)
            filters += [step] if check is None else [step, _Check2(check)]
        last = metadata.compressor
        check = None if last is None else _check_of(last.codec_id)
        if check is not None:
            last = _Check2(check, last)
        if len(filters) == len(metadata.filters or ()) and check is None:
            return array
        metadata = replace(metadata, filters=tuple(filters) or None, compressor=last)
    else:
        codecs = _checked(metadata.codecs)
        if codecs == tuple(metadata.codecs):
            return array
        metadata = replace(metadata, codecs=codecs)
    whole = AsyncArray(metadata, array.store_path, array.async_array.config)
    return zarr.Array(whole)


def _checked(codecs: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            found.append(replace(codec, codecs=_checked(codec.codecs)))
            continue
        check = _check_of(codec.to_dict()["name"])
        found += [codec] if check is None else [codec, _Check3(check)]
    return tuple(found)


def _check_of(name: str) -> Check | None:
    """Return what looks at the input of the decoder of a codec."""
    if name.startswith(_NAME):
        return _check_number
    return _check_blosc if name.rpartition(".")[2] == "blosc" else None
