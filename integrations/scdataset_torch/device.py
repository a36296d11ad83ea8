"""Move batches to a device while the batch before is in use."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .tensors import make_csr_tensor, map_nested, map_tensors, to_tensor

__all__ = ["to_device"]


def to_device(
    batches: Iterable[Any],
    device: torch.device | str | int,
    *,
    dense: bool = False,
    ahead: int = 1,
) -> Iterator[Any]:
    """Yield batches on `device`.

    For a CUDA device, batches are copied from pinned memory on a stream of their own,
    up to `ahead` batches before they are asked for. Batches that the ``DataLoader`` has
    not pinned are pinned here. For any other device, each batch is moved when it is
    asked for.

    Parameters
    ----------
    batches
        A ``DataLoader`` over a :class:`LoaderDataset`, the dataset or the Loader
        itself: any iterable of nested dicts, lists and tuples of tensors, arrays and
        CSR arrays.
    device
        Anything that ``torch.device`` takes.
    dense
        Make sparse tensors dense, on the device. The parts of a sparse tensor are much
        smaller to copy than its dense rows.
    ahead
        Number of batches to copy ahead, at least 1. Each takes memory of the device.

    Raises
    ------
    ValueError
        If `ahead` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> batches = [{"X": csr_array(np.eye(2, dtype=np.float32))}]
    >>> next(to_device(batches, "cpu", dense=True))["X"]
    tensor([[1., 0.],
            [0., 1.]])
    """
    if ahead < 1:
        raise ValueError(f"ahead must be at least 1, got {ahead}")
    target = torch.device(device)
    tensors = (map_nested(batch, to_tensor) for batch in batches)
    if target.type == "cuda":
        return _copy_on_side_stream(tensors, target, dense=dense, ahead=ahead)
    return (_move(batch, target, dense=dense) for batch in tensors)


def _copy_on_side_stream(
    batches: Iterator[Any], device: torch.device, *, dense: bool, ahead: int
) -> Iterator[Any]:
    """Copy batches on a stream of their own, and yield each after later ones start."""
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # its own
    ready: deque[tuple[Any, Any]] = deque()
    for batch in batches:
        with torch.cuda.stream(stream):
            moved = _move(map_tensors(batch, _pin), device, dense=dense)
            ready.append((moved, stream.record_event()))
        if len(ready) > ahead:
            yield _hand_over(*ready.popleft(), device)
    while ready:
        yield _hand_over(*ready.popleft(), device)


def _hand_over(batch: Any, copied: Any, device: torch.device) -> Any:
    """Make the current stream wait for the copy of `batch`, and return the batch."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # Otherwise PyTorch could give the tensor's memory to the next copy while the
        # current stream still uses it.
        tensor.record_stream(current)
        return tensor

    return map_tensors(batch, keep)


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def _move(batch: Any, device: torch.device, *, dense: bool) -> Any:
    moved = map_tensors(batch, lambda part: part.to(device, non_blocking=True))
    return map_nested(moved, _make_dense) if dense else moved


# PyTorch cannot make CSR tensors of these types dense, but it can if their bits are
# taken for those of signed numbers.
_SIGNED = {
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}


def _make_dense(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor) or leaf.layout != torch.sparse_csr:
        return leaf
    signed = _SIGNED.get(leaf.dtype)
    if signed is None:
        return leaf.to_dense()
    values = leaf.values().view(signed)
    rows = make_csr_tensor(leaf.crow_indices(), leaf.col_indices(), values, leaf.shape)
    return rows.to_dense().view(leaf.dtype)
