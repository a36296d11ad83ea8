"""Has zarr-python look at what a chunk of text claims before it takes memory for it.

A chunk of text begins with the number of its entries, each of which begins with its
length (numcodecs' ``vlen-utf8``, ``vlen-bytes`` and ``vlen-array``). Numcodecs takes
memory for that number of entries, 32 GiB at most, before it looks at the first one. So
a codec is put behind these that compares the number with the bytes there are.
"""

from dataclasses import dataclass, replace
from typing import Any

import zarr
from numcodecs.abc import Codec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.core.array import AsyncArray

__all__ = ["with_checked_text"]

_NUMBER_BYTES = 4  # of the number of entries, and of the length of each
_NAME = "vlen-"


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


class _Check2(Codec):  # type: ignore[misc]  # numcodecs counts as untyped
    """Checks text of version 2."""

    codec_id = "scdataset_core.checked_text"

    def encode(self, buf: Any) -> Any:
        """Return what is given."""
        return buf

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return what is given, after a look at it."""
        _check_number(buf)
        return buf


@dataclass(frozen=True)
class _Check3(BytesBytesCodec):  # type: ignore[misc]  # zarr counts as untyped
    """Checks text of version 3."""

    is_fixed_size = True

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        _check_number(chunk_bytes.as_numpy_array())
        return chunk_bytes

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, _spec: Any) -> int:
        """Return the size that is given."""
        return input_byte_length


def with_checked_text(array: zarr.Array) -> zarr.Array:
    """Return the same array, whose chunks of text are looked at first."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        filters: list[Any] = []
        for step in metadata.filters or ():
            filters += [step, _Check2()] if _is_text(step.codec_id) else [step]
        metadata = replace(metadata, filters=tuple(filters) or None)
    else:
        metadata = replace(metadata, codecs=_checked(metadata.codecs))
    whole = AsyncArray(metadata, array.store_path, array.async_array.config)
    return zarr.Array(whole)


def _checked(codecs: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            found.append(replace(codec, codecs=_checked(codec.codecs)))
        elif _is_text(codec.to_dict()["name"]):
            found += [codec, _Check3()]
        else:
            found.append(codec)
    return tuple(found)


def _is_text(name: str) -> bool:
    return name.startswith(_NAME)
