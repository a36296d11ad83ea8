"""Batches between processes: through shared memory that is used again.

PyTorch ships each tensor in new shared memory and as a file descriptor of its own.
New memory is faulted in page by page on both sides, and a descriptor goes through a
socket of its own, which together cost more than reading the batch did. Here a worker
packs all tensors of a batch into one segment; it sends the segment itself only the
first time, and packs into it again once the receiver has dropped the batch. That needs
one receiver for all batches of a process, and so is done in a ``DataLoader``'s workers
alone.

Where shared memory is full (a container has 64 MB by default), what does not fit goes
through the worker's pipe. Pickling runs on a thread of the queue: an error there loses
the batch, and the consumer would wait for it for ever.
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

__all__ = ["PlainBatch", "allow_sending_by_pipe", "send_in_shared_memory"]

_ALIGNED = 64  # bytes; any tensor type may start there
_HEAD = _ALIGNED  # the first byte says whether a batch is in the segment
_STEP = 64 * 1024
_SPARE = 1.25  # of what the first batch needs: others are a little larger

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Place:
    """Where a dense tensor lies in a segment."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def tensor(self, memory: torch.Tensor) -> torch.Tensor:
        n_bytes = self.dtype.itemsize
        for size in self.shape:
            n_bytes *= size
        part = memory[self.start : self.start + n_bytes]
        return part.view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _CsrPlace:
    """Where the parts of sparse rows lie: of a tensor, or of a SciPy class."""

    crow: _Place
    col: _Place
    values: _Place
    shape: tuple[int, ...]
    scipy: type[Any] | None

    def tensor(self, memory: torch.Tensor) -> Any:
        crow, col = self.crow.tensor(memory), self.col.tensor(memory)
        values = self.values.tensor(memory)
        if self.scipy is None:
            return make_csr_tensor(crow, col, values, self.shape)
        # Set afterwards: the constructor looks through all indices for their type.
        rows = self.scipy(self.shape, dtype=values.numpy().dtype)
        rows.data, rows.indices, rows.indptr = values.numpy(), col.numpy(), crow.numpy()
        return rows


class _Layout:
    """Places given out one after the other, and the tensors that go there."""

    def __init__(self) -> None:
        self.n_bytes = _HEAD
        self.held: list[tuple[_Place, torch.Tensor]] = []

    def place(self, leaf: Any) -> Any:
        if is_csr(leaf):
            parts = [_tensor_or_none(a) for a in (leaf.indptr, leaf.indices, leaf.data)]
            return self._sparse(parts, leaf.shape, type(leaf)) or leaf
        if not _is_packable(leaf):
            return leaf
        if leaf.layout == torch.sparse_csr:
            crow, col = leaf.crow_indices(), leaf.col_indices()
            return self._sparse([crow, col, leaf.values()], leaf.shape, None)
        return self._dense(leaf)

    def _sparse(
        self, parts: list[torch.Tensor | None], shape: Any, scipy: type[Any] | None
    ) -> _CsrPlace | None:
        held = [part for part in parts if part is not None]
        if len(held) < len(parts):
            return None
        crow, col, values = (self._dense(part) for part in held)
        return _CsrPlace(crow, col, values, tuple(shape), scipy)

    def _dense(self, tensor: torch.Tensor) -> _Place:
        place = _Place(self.n_bytes, tensor.dtype, tuple(tensor.shape))
        self.held.append((place, tensor))
        n_bytes = tensor.numel() * tensor.element_size()
        self.n_bytes += -(-n_bytes // _ALIGNED) * _ALIGNED
        return place


def _is_packable(leaf: Any) -> bool:
    """Return whether its numbers say all about it; PyTorch ships any other itself."""
    return (
        type(leaf) is torch.Tensor
        and leaf.layout in (torch.strided, torch.sparse_csr)
        and leaf.device.type == "cpu"
        and not (leaf.requires_grad or leaf.is_quantized or leaf.is_nested)
    )


def _tensor_or_none(array: npt.NDArray[Any]) -> torch.Tensor | None:
    """Return an array as a tensor, or None where PyTorch has no such type."""
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except TypeError:
        return None


class PlainBatch(dict[str, Any]):
    """A Loader's own batch in a worker; where it arrives it is a plain dict."""


class _Segment:
    """Shared memory for one batch at a time, as the sender has it."""

    def __init__(self, number: int, n_bytes: int) -> None:
        size = -(-int(n_bytes * _SPARE) // _STEP) * _STEP
        # As in PyTorch's own collation in workers: shared from the start.
        storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]  # theirs
        self.number = number
        self.memory = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.flag = self.memory.numpy()[:1]
        self.flag[0] = 0
        self.sent = False

    def has_room(self, n_bytes: int) -> bool:
        return self.flag[0] == 0 and len(self.memory) >= n_bytes


class _Sender:
    """The segments of one sending process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.token = (self.pid, uuid.uuid4().hex)
        self._segments: list[_Segment] = []
        self._gone: list[int] = []  # dropped here, and to be dropped by the receiver
        self._n_made = 0
        self._lock = threading.Lock()  # queues pickle on threads of their own

    def pack(self, batch: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return what :func:`_unpack` makes the batch of, after its type.

        None where there is no shared memory left.
        """
        layout = _Layout()
        places = map_nested(dict(batch), layout.place)
        with self._lock:
            try:
                segment = self._free(layout.n_bytes)
            except (RuntimeError, OSError):
                _warn_once()
                return None
            segment.flag[0] = 1
            gone, self._gone = self._gone, []
        for place, tensor in layout.held:
            place.tensor(segment.memory).copy_(tensor)
        memory = None if segment.sent else segment.memory
        segment.sent = True
        return self.token, segment.number, memory, gone, places

    def _free(self, n_bytes: int) -> _Segment:
        for segment in self._segments:
            if segment.has_room(n_bytes):
                return segment
        # Those that are free are too small; most likely they will stay so.
        self._gone += [s.number for s in self._segments if s.sent and s.flag[0] == 0]
        self._segments = [kept for kept in self._segments if kept.flag[0] != 0]
        self._segments.append(_Segment(self._n_made, n_bytes))
        self._n_made += 1
        return self._segments[-1]


_sender: _Sender | None = None
_received: dict[tuple[int, str], dict[int, Bytes]] = {}


def _reduce(batch: Mapping[str, Any]) -> Any:
    """Pack a batch; runs where a process sends it to another."""
    global _sender
    kind = dict if isinstance(batch, PlainBatch) else type(batch)
    packed = None
    # Elsewhere nobody knows that all go to one process, which then has the segments.
    if get_worker_info() is not None:
        if _sender is None or _sender.pid != os.getpid():
            _sender = _Sender()
        packed = _sender.pack(batch)
    if packed is None:
        return _rebuild, (kind, map_nested(dict(batch), _in_parts))
    return _unpack, (kind, *packed)


@dataclass(frozen=True)
class _CsrParts:
    """A sparse tensor, which PyTorch rebuilds with a warning, in parts."""

    crow: torch.Tensor
    col: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, ...]


def _in_parts(leaf: Any) -> Any:
    if not _is_packable(leaf) or leaf.layout != torch.sparse_csr:
        return leaf
    crow, col, values = leaf.crow_indices(), leaf.col_indices(), leaf.values()
    return _CsrParts(crow, col, values, tuple(leaf.shape))


def _rebuild(kind: type[Any], parts: Any) -> Any:
    """Return a batch of parts that PyTorch has shipped."""

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, _CsrParts):
            return leaf
        return make_csr_tensor(leaf.crow, leaf.col, leaf.values, leaf.shape)

    return kind(map_nested(parts, whole))


def _unpack(
    kind: type[Any],
    token: tuple[int, str],
    number: int,
    memory: torch.Tensor | None,
    gone: list[int],
    places: Any,
) -> Any:
    """Return a batch of views into the segment, which is free again when they die."""
    if token not in _received:
        _forget_ended()
    segments = _received.setdefault(token, {})
    for dropped in gone:
        segments.pop(dropped, None)
    if memory is not None:
        segments[number] = memory.numpy()
    segment = segments[number]
    # Every view keeps the exporter alive: when it dies, none is left.
    exporter = (ctypes.c_char * len(segment)).from_buffer(segment.data)
    weakref.finalize(exporter, _set_free, segment).atexit = False
    lent = torch.frombuffer(memoryview(exporter), dtype=torch.uint8)

    def tensor(leaf: Any) -> Any:
        return leaf.tensor(lent) if isinstance(leaf, _Place | _CsrPlace) else leaf

    return kind(map_nested(places, tensor))


def _set_free(segment: Bytes) -> None:
    segment[0] = 0


def _forget_ended() -> None:
    """Drop the segments of processes that have ended; batches keep theirs."""
    if os.name != "posix":  # elsewhere signal 0 is not a question but an interrupt
        return
    for token in list(_received):
        try:
            os.kill(token[0], 0)
        except OSError:
            _received.pop(token, None)


def send_in_shared_memory(kind: type[Any]) -> None:
    """Have batches of a type leave a worker in shared memory.

    Parameters
    ----------
    kind
        A mapping type that can be made of a dict.
    """
    ForkingPickler.register(kind, _reduce)


send_in_shared_memory(PlainBatch)


def allow_sending_by_pipe() -> None:
    """Have this process send the bytes of a tensor where there is no room to share it.

    For workers: it holds for all tensors that the process sends.
    """
    ForkingPickler.register(torch.UntypedStorage, _reduce_storage)


def _reduce_storage(storage: torch.UntypedStorage) -> Any:
    try:
        return reduce_storage(storage)  # type: ignore[no-untyped-call]  # theirs
    except (RuntimeError, OSError):
        if storage.device.type != "cpu":
            raise
        _warn_once()
        held = torch.empty(0, dtype=torch.uint8).set_(storage)
        return _storage_of, (held.numpy(),)


def _storage_of(held: Bytes) -> torch.UntypedStorage:
    return torch.from_numpy(held).untyped_storage()


@cache
def _warn_once() -> None:
    # Raised, as a filter may have it, it would lose the batch on the queue's thread.
    with contextlib.suppress(UserWarning):
        warnings.warn(
            "there is no shared memory left for batches, which now go through a pipe"
            " and are slower; give the container more (docker run --shm-size=1g),"
            " or use fewer workers or num_workers=0",
            UserWarning,
            stacklevel=2,
        )
