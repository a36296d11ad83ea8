"""Does many reads in one call to the system, by Linux's io_uring.

A thousand calls of ``preadv`` for the runs of a fetch release the interpreter's lock a
thousand times, and wait for it as often. With io_uring, a task writes its reads into
memory that it shares with the system, and one call does them all. That call copies the
pages that are in memory; the system fetches the others all at the same time.

The layout of the shared memory is that of the Linux headers (``io_uring.h``; J. Axboe,
"Efficient IO with io_uring", 2019).
"""

import ctypes
import errno
import mmap
import os
import sys
import time
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["N_ENTRIES", "Ring", "is_available", "new_ring"]

Integers = npt.NDArray[np.int64]

# A call does at most so many reads, and waits for the interpreter's lock once. With 64,
# reads were a fifth slower.
N_ENTRIES = 256
_SETUP, _ENTER = 425, 426  # numbers of the system calls, the same on all 64-bit systems
_SQES_OFFSET = 0x10000000
_GET_EVENTS = 1
_ONE_MEMORY = 1  # feature: both queues lie in one piece of memory, since Linux 5.4
_COUNTERS = 0xFFFFFFFF  # they go round
_READV = 1

_READ = np.dtype(
    {
        "names": ["opcode", "fd", "position", "address", "count", "number"],
        "formats": ["u1", "i4", "u8", "u8", "u4", "u8"],
        "offsets": [0, 4, 8, 16, 24, 32],
        "itemsize": 64,
    }
)
_RESULT = np.dtype([("number", "u8"), ("n_bytes", "i4"), ("flags", "u4")])


class _Parameters(ctypes.Structure):
    """``struct io_uring_params``; the last two say where things lie in the memory."""

    _fields_ = (
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32 * 3),
        ("features", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 4),
        ("sq", ctypes.c_uint32 * 10),  # head, tail, 4 others, array
        ("cq", ctypes.c_uint32 * 10),  # head, tail, 3 others, results
    )


@lru_cache
def _syscall() -> Any:  # Any: a ctypes function pointer
    """Return C's ``syscall``, or None on systems without io_uring."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long,) * 5 + (ctypes.c_void_p, ctypes.c_long)
    return function


class Ring:
    """Reads into scattered memory, many reads at a time; for one thread of one process.

    Raises
    ------
    OSError
        If the system has no io_uring or does not let this process use it.
    """

    def __init__(self) -> None:
        self._call = _syscall()
        if self._call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        parameters = _Parameters()
        address = ctypes.addressof(parameters)
        fd = self._call(_SETUP, N_ENTRIES, address, 0, 0, None, 0)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self.pid = os.getpid()
        self._fd = fd
        if not parameters.features & _ONE_MEMORY:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        sq, cq = parameters.sq, parameters.cq
        n, n_results = parameters.sq_entries, parameters.cq_entries
        size = max(sq[6] + 4 * n, cq[5] + _RESULT.itemsize * n_results)
        queues = mmap.mmap(fd, size)
        self._reads = np.frombuffer(
            mmap.mmap(fd, _READ.itemsize * n, offset=_SQES_OFFSET), _READ
        )
        self._reads["opcode"] = _READV
        self._reads["number"] = np.arange(n)
        self._columns = [
            self._reads[name] for name in ("fd", "position", "address", "count")
        ]
        self._order = np.frombuffer(queues, np.uint32, n, sq[6])
        self._results = np.frombuffer(queues, _RESULT, n_results, cq[5])
        counter = ctypes.c_uint32.from_buffer
        self._begun, self._written = counter(queues, sq[0]), counter(queues, sq[1])
        self._taken, self._done = counter(queues, cq[0]), counter(queues, cq[1])

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)

    def read(
        self, fd: Integers, position: Integers, address: Integers, count: Integers
    ) -> Integers:
        """Do reads, and return the bytes of each; they may be short, or refused.

        Parameters
        ----------
        fd
            The open file of each read.
        position
            Its first byte there.
        address
            Where its table lies (see :class:`.byte_sources.Destinations`).
        count
            The rows of that table, at most `IOV_MAX`.

        Returns
        -------
        n_bytes
            Bytes read; 0 where a read was not begun, below 0 where it was refused.
        """
        n_bytes = np.zeros(len(position), np.int64)
        columns = fd, position, address, count
        for start in range(0, len(position), len(self._reads)):
            some = slice(start, start + len(self._reads))
            n = len(position[some])
            for column, values in zip(self._columns, columns, strict=True):
                column[:n] = values[some]
            written = self._written.value
            self._order[(written + np.arange(n)) % len(self._order)] = np.arange(n)
            self._written.value = written + n
            try:
                self._submit()
            finally:
                # The system must not write into memory that is given up.
                self._wait(n_bytes[some])
        return n_bytes

    def _submit(self) -> None:
        """Have the system begin the reads in the queue; take back those it refuses."""
        while n := (self._written.value - self._begun.value) & _COUNTERS:
            if not self._enter(n, n):
                self._written.value = self._begun.value

    def _wait(self, n_bytes: Integers) -> None:
        """Wait until all reads that were begun are done, and note their bytes."""
        self._written.value = self._begun.value  # less after an interrupt
        first = self._taken.value
        n = (self._begun.value - first) & _COUNTERS
        while (self._done.value - first) & _COUNTERS < n:
            if not self._enter(0, n):
                time.sleep(0.001)
        results = self._results[(first + np.arange(n)) % len(self._results)]
        self._taken.value = first + n
        n_bytes[results["number"].astype(np.int64)] = results["n_bytes"]

    def _enter(self, n_begin: int, n_done: int) -> bool:
        """Begin reads and wait until as many are done; False if that is refused."""
        entered = self._call(_ENTER, self._fd, n_begin, n_done, _GET_EVENTS, None, 0)
        return entered >= 0 or ctypes.get_errno() == errno.EINTR


def new_ring() -> Ring | None:
    """Return a ring, or None where the system gives none."""
    try:
        return Ring()
    except (OSError, ValueError):
        return None


@lru_cache
def is_available() -> bool:
    """Return whether this system lets this process have rings."""
    return new_ring() is not None
