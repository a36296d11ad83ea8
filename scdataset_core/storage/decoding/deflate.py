"""Decodes zlib streams, to their end, where their checksum is.

A decoder could stop behind the rows that are wanted. But the Adler-32 checksum is that
of the whole stream, and unchecked, most flipped bits gave wrong rows. Decoding whole
chunks costs 4 to 22 % of the cells a CPU-second for blocks of 4 rows and more, and up
to a third for single rows (6,000 cells of 1,945 counts, gzip, chunks of 23,766 and
100,000 elements, two threads, November 2026).

Chunks go through libdeflate, the fastest here that checks the checksum.
"""

import ctypes
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

from ..io.scratch_memory import Scratch

__all__ = [
    "InflateError",
    "Inflater",
    "choose_inflater",
    "find_libdeflate",
    "inflate_windows",
    "prepare",
    "streaming_module",
]

SUCCESS, BAD_DATA, SHORT_OUTPUT, INSUFFICIENT_SPACE = range(4)
WINDOW = 1 << 20


class InflateError(Exception):
    """Says that a stream cannot be decoded, or is of another size than was declared."""


class Inflater(Protocol):
    """Decodes a zlib stream that lies in a thread's scratch memory."""

    def __call__(
        self, scratch: Scratch, start: int, size: int, n_bytes: int
    ) -> memoryview:
        """Return the `n_bytes` decoded bytes of ``scratch.packed[start:][:size]``.

        Raises
        ------
        InflateError
            If the stream is damaged, or decodes to more or less than that.
        """
        ...


@lru_cache
def find_libdeflate() -> Any:  # Any: a ctypes library
    """Return libdeflate out of the extension module that carries it, or None."""
    try:
        from deflate import _deflate

        library = ctypes.CDLL(_deflate.__file__)
        library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        library.libdeflate_free_decompressor.argtypes = (ctypes.c_void_p,)
        library.libdeflate_zlib_decompress.restype = ctypes.c_int
        library.libdeflate_zlib_decompress.argtypes = (
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
        )
    except (ImportError, OSError, AttributeError):
        return None
    return library


class Libdeflate:
    """Calls libdeflate itself, straight from scratch memory into scratch memory."""

    def __init__(self) -> None:
        library = find_libdeflate()
        if library is None:
            raise OSError("libdeflate cannot be called directly on this system")
        self._decompress = library.libdeflate_zlib_decompress
        self._make = library.libdeflate_alloc_decompressor
        self._free = library.libdeflate_free_decompressor

    def __call__(
        self, scratch: Scratch, start: int, size: int, n_bytes: int
    ) -> memoryview:
        """Decode, see :class:`Inflater`."""
        state = scratch.decompressor
        if state is None:
            state = scratch.keep_decompressor(self._make(), self._free)
        address = scratch.reserve_next(n_bytes)
        code = self._decompress(
            state, scratch.packed_address + start, size, address, n_bytes, None
        )
        if code != SUCCESS:
            raise InflateError(_meaning(code, n_bytes))
        return scratch.next_plain(n_bytes)


def _meaning(code: int, n_bytes: int) -> str:
    if code == INSUFFICIENT_SPACE:
        return f"its compressed bytes hold more than the {n_bytes} bytes declared"
    if code == BAD_DATA:
        return "its compressed bytes are not a whole zlib stream"
    return f"its compressed bytes hold less than the {n_bytes} bytes declared"


class DeflateModule:
    """Decodes with :mod:`deflate`, libdeflate's own module."""

    def __call__(
        self, scratch: Scratch, start: int, size: int, n_bytes: int
    ) -> memoryview:
        """Decode, see :class:`Inflater`."""
        import deflate

        stream = scratch.packed[start : start + size]
        try:
            data = deflate.zlib_decompress(stream, n_bytes)
        except deflate.DeflateError as error:
            raise InflateError(
                f"its compressed bytes are not a zlib stream of {n_bytes} bytes"
            ) from error
        if len(data) != n_bytes:
            raise InflateError(_meaning(SHORT_OUTPUT, n_bytes))
        return memoryview(data)


class Streaming:
    """Decodes with a streaming decoder: isal where it is installed, else zlib."""

    def __call__(
        self, scratch: Scratch, start: int, size: int, n_bytes: int
    ) -> memoryview:
        """Decode, see :class:`Inflater`."""
        stream = scratch.packed[start : start + size]
        whole = b"".join(inflate_windows(iter([stream]), n_bytes, window=n_bytes + 1))
        return memoryview(whole)


@lru_cache
def streaming_module() -> tuple[Any, Any]:  # Any: zlib or a module like it
    """Return the fastest module with zlib's interface, and its error."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib, zlib.error
    return isal_zlib, isal_zlib.error


def inflate_windows(
    parts: Iterator[memoryview], n_bytes: int, *, window: int = WINDOW
) -> Iterator[bytes]:
    """Decode a zlib stream piece by piece, in bounded memory.

    Parameters
    ----------
    parts
        The stream, in pieces.
    n_bytes
        Size it declares to decode to.
    window
        Largest piece to yield.

    Raises
    ------
    InflateError
        If the stream is damaged, ends early, or holds more than `n_bytes`; the last
        only when the end is reached.
    """
    module, error = streaming_module()
    decoder = module.decompressobj()
    done = 0
    for part in parts:
        rest: Any = part
        while len(rest) and not decoder.eof:
            try:
                data = decoder.decompress(rest, window)
            except error as cause:
                raise InflateError(_meaning(BAD_DATA, n_bytes)) from cause
            done += len(data)
            if done > n_bytes:
                raise InflateError(_meaning(INSUFFICIENT_SPACE, n_bytes))
            if data:
                yield data
            rest = decoder.unconsumed_tail
    last = b"" if decoder.eof else decoder.flush()
    done += len(last)
    if done > n_bytes:
        raise InflateError(_meaning(INSUFFICIENT_SPACE, n_bytes))
    if last:
        yield last
    if not decoder.eof or done < n_bytes:
        raise InflateError(_meaning(SHORT_OUTPUT, n_bytes))


@lru_cache
def choose_inflater(name: str | None = None) -> Inflater:
    """Return a decoder: "libdeflate", "deflate" or "stream"; None: the fastest here."""
    if name in (None, "libdeflate"):
        try:
            return Libdeflate()
        except OSError:
            if name is not None:
                raise
    if name in (None, "deflate"):
        try:
            import deflate  # noqa: F401 - to see whether it is there
        except ImportError:
            if name is not None:
                raise
        else:
            return DeflateModule()
    return Streaming()


def prepare() -> None:
    """Import the decoders before threads do: see `batching.Batching.prepare`."""
    choose_inflater()
    streaming_module()
