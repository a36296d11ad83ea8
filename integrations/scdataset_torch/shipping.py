"""Batches between processes: all tensors of a batch in one piece of shared memory.

PyTorch ships each tensor as a file descriptor of its own, a batch of CSR rows with
labels as six or more; one for all costs a sixth of the calls, and sparse tensors are
rebuilt here without its warnings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .nested import csr_tensor, map_nested

__all__ = ["pack", "unpack"]

_ALIGNED = 64  # bytes; any tensor type may start there


@dataclass(frozen=True)
class _Place:
    """Where a dense tensor lies in the buffer."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def tensor(self, buffer: torch.Tensor) -> torch.Tensor:
        n_bytes = self.dtype.itemsize
        for size in self.shape:
            n_bytes *= size
        part = buffer[self.start : self.start + n_bytes]
        return part.view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _CsrPlace:
    """Where the parts of a sparse tensor lie."""

    crow: _Place
    col: _Place
    values: _Place
    shape: tuple[int, ...]

    def tensor(self, buffer: torch.Tensor) -> torch.Tensor:
        return csr_tensor(
            self.crow.tensor(buffer),
            self.col.tensor(buffer),
            self.values.tensor(buffer),
            self.shape,
        )


class _Layout:
    """Places given out one after the other, and the tensors that go there."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self.held: list[tuple[_Place, torch.Tensor]] = []

    def place(self, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.layout == torch.sparse_csr:
            return _CsrPlace(
                self._dense(leaf.crow_indices()),
                self._dense(leaf.col_indices()),
                self._dense(leaf.values()),
                tuple(leaf.shape),
            )
        return self._dense(leaf)

    def _dense(self, tensor: torch.Tensor) -> _Place:
        place = _Place(self.n_bytes, tensor.dtype, tuple(tensor.shape))
        self.held.append((place, tensor))
        n_bytes = tensor.numel() * tensor.element_size()
        self.n_bytes += -(-n_bytes // _ALIGNED) * _ALIGNED
        return place


def pack(batch: Mapping[str, Any]) -> tuple[Any, torch.Tensor]:
    """Return a batch with places for its tensors, and the buffer they are in."""
    layout = _Layout()
    places = map_nested(dict(batch), layout.place)
    # As in PyTorch's own collation in workers: shared from the start, not moved there.
    n_bytes = max(1, layout.n_bytes)
    storage = torch.UntypedStorage._new_shared(n_bytes)  # type: ignore[no-untyped-call]  # theirs
    buffer = torch.empty(0, dtype=torch.uint8).set_(storage)
    for place, tensor in layout.held:
        place.tensor(buffer).copy_(tensor)
    return places, buffer


def unpack(places: Any, buffer: torch.Tensor) -> Any:
    """Return what :func:`pack` was given; its tensors are views of the buffer."""

    def tensor(leaf: Any) -> Any:
        return leaf.tensor(buffer) if isinstance(leaf, _Place | _CsrPlace) else leaf

    return map_nested(places, tensor)
