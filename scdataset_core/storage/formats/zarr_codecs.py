"""Turns the codecs of zarr arrays into pipelines of filters, and checks them."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from ...errors import FileFormatError
from ..decoding.filters import BLOSC, SHUFFLE, Filter
from ..decoding.pipeline import Pipeline
from ..decoding.registry import number_of_zarr_codec
from ..decoding.zarr_filters import CRC32C

__all__ = [
    "MOST_CHUNKS",
    "check_description",
    "pipeline_of",
    "too_many_chunks",
    "unknown_codec",
]

_MOST_ROWS = 1 << 40  # of a chunk; more than any file holds
MOST_CHUNKS = 1 << 31  # of an array

# numcodecs has codecs of these names, with another layout than zarr's own.
_ONLY_ZARRS = {"crc32c"}

# numcodecs has these codecs only beside another package, which this names.
_EXTRAS = {
    "crc32c": "crc32c",
    "msgpack2": "msgpack",
    "pcodec": "pcodec",
    "zfpy": "zfpy",
}


def check_description(where: str, metadata: Mapping[str, Any]) -> None:
    """Raise if an array has a codec that runs stored code, or is not installed.

    It raises too if chunks are of a size that none can have. Zarr looks for some codecs
    only when it first decodes; this function looks for all.

    Parameters
    ----------
    where
        The array, for errors.
    metadata
        Its description, of version 2 or 3.

    Raises
    ------
    FileFormatError
        If one of them is `pickle`, wherever it stands, or is unknown to numcodecs; or
        if chunks have an impossible size.
    """
    _check_sizes(where, metadata)
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


def _check_sizes(where: str, metadata: Mapping[str, Any]) -> None:
    """Raise if chunks are of a size that none can have."""
    if any(size >= 1 << 63 for size in metadata["shape"]):
        raise FileFormatError(
            f"{where} says that it has the shape {tuple(metadata['shape'])}, and none"
            " can have: its description is damaged, restore it from its origin"
        )
    if metadata["zarr_format"] == 2:
        chunks = metadata["chunks"]
    elif metadata["chunk_grid"]["name"] == "regular":
        chunks = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    else:
        return
    if any(not 0 < size <= _MOST_ROWS for size in chunks):
        raise FileFormatError(
            f"{where} says that its chunks have the shape {tuple(chunks)}, and none can"
            " have: its description is damaged, restore it from its origin"
        )
    n_chunks = prod(
        -(-n // step) for n, step in zip(metadata["shape"], chunks, strict=True)
    )
    if n_chunks > MOST_CHUNKS:
        raise too_many_chunks(where, n_chunks)


def too_many_chunks(where: str, n_chunks: int) -> FileFormatError:
    """Return the error for an array of more chunks than are looked up."""
    return FileFormatError(
        f"{where} claims {n_chunks:,} chunks, more than {MOST_CHUNKS:,}; its"
        " description is damaged, or it was made with chunks of single elements: write"
        " it again with larger ones"
    )


def unknown_codec(where: str, error: Exception) -> FileFormatError | None:
    """Return the error to raise for zarr's own error about a codec, or None."""
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
        code = number_of_zarr_codec(name)
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
