"""Counts what reading costs."""

import threading
from dataclasses import dataclass, field

__all__ = ["ReadStats"]


@dataclass
class ReadStats:
    """Counts what was read and decoded so far, and the thread-seconds it took.

    Parameters
    ----------
    bytes_read
        Bytes that came from files.
    bytes_decoded
        Bytes that chunks were decoded to. Most are decoded whole; of blosc chunks,
        only what is wanted is counted.
    bytes_used
        Bytes that were placed in targets.
    chunks_decoded
        Chunks that were decoded, whole or in part.
    chunks_cached
        Chunks that were found in a cache, and not decoded.
    requests
        Requests that were sent to object stores.
    bytes_requested
        Bytes that these asked for, those between the ranges that are wanted too.
    read_s, decode_s, place_s
        Seconds spent reading, decoding and copying rows to their targets, summed over
        threads; uncompressed rows are read straight into their targets.
    request_s
        Seconds that requests to object stores took, summed over all; many are under
        way at a time.
    """

    bytes_read: int = 0
    bytes_decoded: int = 0
    bytes_used: int = 0
    chunks_decoded: int = 0
    chunks_cached: int = 0
    requests: int = 0
    bytes_requested: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    place_s: float = 0.0
    request_s: float = 0.0
    _lock: threading.Lock = field(
        default_factory=threading.Lock, repr=False, compare=False
    )

    def add(
        self,
        *,
        bytes_read: int = 0,
        bytes_decoded: int = 0,
        bytes_used: int = 0,
        chunks_decoded: int = 0,
        chunks_cached: int = 0,
        requests: int = 0,
        bytes_requested: int = 0,
        read_s: float = 0.0,
        decode_s: float = 0.0,
        place_s: float = 0.0,
        request_s: float = 0.0,
    ) -> None:
        """Add what one task did; any thread may call it."""
        with self._lock:
            self.bytes_read += bytes_read
            self.bytes_decoded += bytes_decoded
            self.bytes_used += bytes_used
            self.chunks_decoded += chunks_decoded
            self.chunks_cached += chunks_cached
            self.requests += requests
            self.bytes_requested += bytes_requested
            self.read_s += read_s
            self.decode_s += decode_s
            self.place_s += place_s
            self.request_s += request_s
