"""Calls the decompressors that numcodecs carries, on memory of our own.

They decompress straight into the memory given, never past its end, while other threads
run. Where a build of numcodecs hides its C functions, its Python functions are called.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...optional import import_optional

__all__ = ["BloscFunctions", "blosc_functions", "decompressor"]

Bytes = npt.NDArray[np.uint8]
Decompress = Callable[[Bytes, Bytes], int]

# ZSTD_decompress gives error codes as the largest sizes there are.
_ZSTD_ERRORS = 1 << 62


def _zstd(library: Any) -> Decompress:  # Any: a ctypes library
    decompress = library.ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )

    def zstd(packed: Bytes, plain: Bytes) -> int:
        n: int = decompress(
            plain.ctypes.data, len(plain), packed.ctypes.data, len(packed)
        )
        return -1 if n > _ZSTD_ERRORS else n

    return zstd


def _lz4(library: Any) -> Decompress:  # Any: a ctypes library
    decompress = library.LZ4_decompress_safe
    decompress.restype = ctypes.c_int
    decompress.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    )

    def lz4(packed: Bytes, plain: Bytes) -> int:
        n: int = decompress(
            packed.ctypes.data, plain.ctypes.data, len(packed), len(plain)
        )
        return n

    return lz4


def _through_python(name: str, module: Any) -> Decompress:  # Any: a numcodecs module
    def decompress(packed: Bytes, plain: Bytes) -> int:
        data = packed.tobytes()
        if name == "lz4":
            data = np.uint32(len(plain)).astype("<u4").tobytes() + data
        try:
            module.decompress(data, plain)
        except (RuntimeError, ValueError):
            return -1
        return len(plain)

    return decompress


class BloscFunctions(NamedTuple):
    """Functions of C-Blosc; they take addresses, and trust sizes in buffers' headers.

    Each returns how many bytes it wrote, less than 0 for a damaged buffer.

    Parameters
    ----------
    whole
        Decodes ``(buffer, target, bytes of the target, threads)``.
    items
        Decodes some items: ``(buffer, first, count, target)``.
    """

    whole: Callable[[int, int, int, int], int]
    items: Callable[[int, int, int, int], int]


@lru_cache
def blosc_functions() -> BloscFunctions | None:
    """Return the functions of the C-Blosc in numcodecs, or None where it hides them."""
    try:
        blosc = import_optional("numcodecs.blosc", extra="codecs", needed_by="chunks")
        library = ctypes.CDLL(blosc.__file__)
        whole, items = library.blosc_decompress_ctx, library.blosc_getitem
    except (ImportError, OSError, AttributeError):
        return None
    whole.restype = items.restype = ctypes.c_int
    whole.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    items.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    return BloscFunctions(whole, items)


def _blosc(library: Any) -> Decompress:  # Any: a ctypes library
    functions = blosc_functions()
    if functions is None:
        raise AttributeError("this build of numcodecs hides C-Blosc")
    whole = functions.whole

    def blosc(packed: Bytes, plain: Bytes) -> int:
        return whole(packed.ctypes.data, plain.ctypes.data, len(plain), 1)

    return blosc


_IN_C = {"blosc": _blosc, "lz4": _lz4, "zstd": _zstd}


@lru_cache
def decompressor(name: str) -> Decompress:
    """Return a function that decompresses "blosc", "lz4" (one block) or "zstd".

    The function takes the packed bytes and the memory to fill. It returns how many
    bytes it wrote there, and less than 0 if the bytes are damaged.

    Raises
    ------
    ModuleNotFoundError
        If numcodecs is not installed.
    """
    what = f"chunks compressed with {name}"
    module = import_optional(f"numcodecs.{name}", extra="codecs", needed_by=what)
    try:
        return _IN_C[name](ctypes.CDLL(module.__file__))
    except (OSError, AttributeError):
        return _through_python(name, module)
