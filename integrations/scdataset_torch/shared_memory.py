"""Send batches from workers to the main process in shared memory that is reused.

PyTorch sends each tensor in new shared memory, with a file descriptor of its own. Both
processes fault in the new memory page by page, and the descriptor goes through a socket
of its own. Together these cost more than reading the batch. Here a worker packs all
tensors of a batch into one segment of shared memory. It sends the segment only the
first time, and uses it again once the receiver has dropped the batch. All batches of a
process must then go to the same receiver, so only workers of a ``DataLoader`` do this.

If shared memory is full (a container has 64 MB by default), a batch that does not fit
goes through the worker's pipe. Pickling must not raise an error: it runs on a thread of
the queue, where an error would lose the batch and leave the consumer waiting for ever.
"""

import contextlib
import ctypes
import os
import threading
import uuid
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.multiprocessing.reductions import reduce_storage
from torch.utils.data import get_worker_info

from .tensors import is_csr, make_csr_tensor, map_nested

__all__ = [
    "PlainBatch",
    "allow_sending_by_pipe",
    "prepare_to_send",
    "send_in_shared_memory",
]

_ALIGNMENT = 64  # bytes, a multiple of what any tensor type needs
_HEAD = _ALIGNMENT  # the first byte says whether a batch is in the segment
_SIZE_STEP = 64 * 1024  # bytes; a segment is a multiple of this
_SPARE = 1.25  # segment size over the size of its first batch: later ones may be larger

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _DenseLocation:
    """The location of a dense tensor in a segment."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def view(self, memory: torch.Tensor) -> torch.Tensor:
        """Return the tensor as a view into the segment's memory."""
        n_bytes = self.dtype.itemsize
        for size in self.shape:
            n_bytes *= size
        part = memory[self.start : self.start + n_bytes]
        return part.view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _CsrLocation:
    """The locations of the parts of a CSR tensor or SciPy CSR array in a segment."""

    crow: _DenseLocation
    col: _DenseLocation
    values: _DenseLocation
    shape: tuple[int, ...]
    scipy: type[Any] | None

    def view(self, memory: torch.Tensor) -> Any:
        """Return the rows, whose parts are views into the segment's memory."""
        crow, col = self.crow.view(memory), self.col.view(memory)
        values = self.values.view(memory)
        if self.scipy is None:
            return make_csr_tensor(crow, col, values, self.shape)
        # The parts are set afterwards, because the constructor would look through all
        # indices to choose their type.
        rows = self.scipy(self.shape, dtype=values.numpy().dtype)
        rows.data, rows.indices, rows.indptr = values.numpy(), col.numpy(), crow.numpy()
        return rows


class _Layout:
    """Assigns the tensors of a batch to locations in a segment, one after the other."""

    def __init__(self) -> None:
        self.n_bytes = _HEAD
        self.assigned: list[tuple[_DenseLocation, torch.Tensor]] = []

    def assign(self, leaf: Any) -> Any:
        """Return the location of a leaf, or the leaf itself if it cannot be packed."""
        if is_csr(leaf):
            parts = [_tensor_or_none(a) for a in (leaf.indptr, leaf.indices, leaf.data)]
            return self._assign_csr(parts, leaf.shape, type(leaf)) or leaf
        if not _is_packable(leaf):
            return leaf
        if leaf.layout == torch.sparse_csr:
            crow, col = leaf.crow_indices(), leaf.col_indices()
            return self._assign_csr([crow, col, leaf.values()], leaf.shape, None)
        return self._assign_dense(leaf)

    def _assign_csr(
        self, parts: list[torch.Tensor | None], shape: Any, scipy: type[Any] | None
    ) -> _CsrLocation | None:
        tensors = [part for part in parts if part is not None]
        if len(tensors) < len(parts):
            return None
        crow, col, values = (self._assign_dense(part) for part in tensors)
        return _CsrLocation(crow, col, values, tuple(shape), scipy)

    def _assign_dense(self, tensor: torch.Tensor) -> _DenseLocation:
        location = _DenseLocation(self.n_bytes, tensor.dtype, tuple(tensor.shape))
        self.assigned.append((location, tensor))
        n_bytes = tensor.numel() * tensor.element_size()
        self.n_bytes += -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
        return location


def _is_packable(leaf: Any) -> bool:
    """Return whether a leaf is a plain CPU tensor; PyTorch itself sends any other."""
    return (
        type(leaf) is torch.Tensor
        and leaf.layout in (torch.strided, torch.sparse_csr)
        and leaf.device.type == "cpu"
        and not (leaf.requires_grad or leaf.is_quantized or leaf.is_nested)
    )


def _tensor_or_none(array: npt.NDArray[Any]) -> torch.Tensor | None:
    """Return an array as a tensor, or None if PyTorch does not have its type."""
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except TypeError:
        return None


class PlainBatch(dict[str, Any]):
    """A Loader's own batch in a worker, which arrives as a plain dict."""


class _Segment:
    """Shared memory for one batch at a time, on the sender's side."""

    def __init__(self, number: int, n_bytes: int) -> None:
        size = -(-int(n_bytes * _SPARE) // _SIZE_STEP) * _SIZE_STEP
        # PyTorch's own collation in workers also makes storage that is shared from the
        # start.
        storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]  # theirs
        self.number = number
        self.memory = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.flag = self.memory.numpy()[:1]
        self.flag[0] = 0
        self.sent = False

    def has_room(self, n_bytes: int) -> bool:
        """Return whether no batch is in the segment, and one of `n_bytes` fits."""
        return self.flag[0] == 0 and len(self.memory) >= n_bytes


class _Sender:
    """The segments of one sending process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.token = (self.pid, uuid.uuid4().hex)
        self._segments: list[_Segment] = []
        # Numbers of segments that were dropped here and that the receiver must drop.
        self._dropped: list[int] = []
        self._n_segments_made = 0
        self._lock = threading.Lock()  # each queue pickles on a thread of its own

    def pack(self, batch: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Copy a batch into a segment, and return the arguments of :func:`_unpack`.

        The first argument, the batch's type, is left out. Return None if there is no
        shared memory left.
        """
        layout = _Layout()
        locations = map_nested(dict(batch), layout.assign)
        with self._lock:
            try:
                segment = self._find_free(layout.n_bytes)
            except (RuntimeError, OSError):
                _warn_once()
                return None
            segment.flag[0] = 1
            dropped, self._dropped = self._dropped, []
        for location, tensor in layout.assigned:
            location.view(segment.memory).copy_(tensor)
        memory = None if segment.sent else segment.memory
        segment.sent = True
        return self.token, segment.number, memory, dropped, locations

    def _find_free(self, n_bytes: int) -> _Segment:
        """Return a free segment that is large enough, a new one if there is none."""
        for segment in self._segments:
            if segment.has_room(n_bytes):
                return segment
        # Free segments are too small for this batch, and most likely for later ones.
        self._dropped += [s.number for s in self._segments if s.sent and s.flag[0] == 0]
        self._segments = [kept for kept in self._segments if kept.flag[0] != 0]
        self._segments.append(_Segment(self._n_segments_made, n_bytes))
        self._n_segments_made += 1
        return self._segments[-1]


_sender: _Sender | None = None
_received: dict[tuple[int, str], dict[int, Bytes]] = {}


def _reduce(batch: Mapping[str, Any]) -> Any:
    """Return how to unpickle a batch; called when a process sends it to another."""
    global _sender
    kind = dict if isinstance(batch, PlainBatch) else type(batch)
    packed = None
    # Only a worker is sure to send all batches to one process, which then has all
    # segments.
    if get_worker_info() is not None:
        if _sender is None or _sender.pid != os.getpid():
            _sender = _Sender()
        packed = _sender.pack(batch)
    if packed is None:
        return _rebuild, (kind, map_nested(dict(batch), _split_csr))
    return _unpack, (kind, *packed)


@dataclass(frozen=True)
class _CsrParts:
    """The parts of a CSR tensor; PyTorch would rebuild the tensor with a warning."""

    crow: torch.Tensor
    col: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, ...]


def _split_csr(leaf: Any) -> Any:
    """Return the parts of a CSR tensor; any other leaf as it is."""
    if not _is_packable(leaf) or leaf.layout != torch.sparse_csr:
        return leaf
    crow, col, values = leaf.crow_indices(), leaf.col_indices(), leaf.values()
    return _CsrParts(crow, col, values, tuple(leaf.shape))


def _rebuild(kind: type[Any], parts: Any) -> Any:
    """Return a batch, given the tensors that PyTorch has sent."""

    def join_csr(leaf: Any) -> Any:
        if not isinstance(leaf, _CsrParts):
            return leaf
        return make_csr_tensor(leaf.crow, leaf.col, leaf.values, leaf.shape)

    return kind(map_nested(parts, join_csr))


def _unpack(
    kind: type[Any],
    token: tuple[int, str],
    number: int,
    memory: torch.Tensor | None,
    dropped: list[int],
    locations: Any,
) -> Any:
    """Return a batch of views into a segment, which becomes free once all views die."""
    if token not in _received:
        _forget_ended_processes()
    segments = _received.setdefault(token, {})
    for old in dropped:
        segments.pop(old, None)
    if memory is not None:
        segments[number] = memory.numpy()
    segment = segments[number]
    # Every view keeps the exporter alive, so the exporter dies with the last view.
    exporter = (ctypes.c_char * len(segment)).from_buffer(segment.data)
    weakref.finalize(exporter, _set_free, segment).atexit = False
    whole = torch.frombuffer(memoryview(exporter), dtype=torch.uint8)

    def view(leaf: Any) -> Any:
        return (
            leaf.view(whole)
            if isinstance(leaf, _DenseLocation | _CsrLocation)
            else leaf
        )

    return kind(map_nested(locations, view))


def _set_free(segment: Bytes) -> None:
    segment[0] = 0


def _forget_ended_processes() -> None:
    """Drop the segments of processes that have ended; batches in use keep theirs."""
    if os.name != "posix":  # on Windows signal 0 would interrupt the process
        return
    for token in list(_received):
        try:
            os.kill(token[0], 0)
        except OSError:
            _received.pop(token, None)


def send_in_shared_memory(kind: type[Any]) -> None:
    """Make workers send batches of a type in shared memory.

    Parameters
    ----------
    kind
        A mapping type whose constructor takes a dict.
    """
    ForkingPickler.register(kind, _reduce)


send_in_shared_memory(PlainBatch)


def allow_sending_by_pipe() -> None:
    """Make this process send the bytes of a tensor if shared memory has no room for it.

    Workers call this; it holds for all tensors that the process sends.
    """
    ForkingPickler.register(torch.UntypedStorage, _reduce_storage)


def _reduce_storage(storage: torch.UntypedStorage) -> Any:
    try:
        return reduce_storage(storage)  # type: ignore[no-untyped-call]  # theirs
    except (RuntimeError, OSError):
        if storage.device.type != "cpu":
            raise
        _warn_once()
        contents = torch.empty(0, dtype=torch.uint8).set_(storage)
        return _make_storage, (contents.numpy(),)


def _make_storage(contents: Bytes) -> torch.UntypedStorage:
    return torch.from_numpy(contents).untyped_storage()


@cache
def _warn_once() -> None:
    # A filter may turn the warning into an error, which would lose the batch on the
    # queue's thread.
    with contextlib.suppress(UserWarning):
        warnings.warn(
            "there is no shared memory left for batches, which now go through a pipe"
            " and are slower; give the container more (docker run --shm-size=1g),"
            " or use fewer workers or num_workers=0",
            UserWarning,
            stacklevel=2,
        )


def prepare_to_send(batch: Any) -> Any:
    """Return a worker's batch; a plain dict becomes one that goes to shared memory."""
    return PlainBatch(batch) if type(batch) is dict else batch
