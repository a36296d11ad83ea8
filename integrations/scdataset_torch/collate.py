"""Batches as tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from .shared_memory import send_in_shared_memory
from .tensors import is_csr, map_tensors, silence_beta_warning, to_tensor

__all__ = ["TensorBatch", "to_tensors"]

Layout = Literal["csr", "dense"]


class TensorBatch(dict[str, Any]):
    """A batch of tensors that a ``DataLoader`` with ``pin_memory=True`` can pin.

    PyTorch calls :meth:`pin_memory` where a batch has it. That of a sparse tensor
    depends on the release; its parts can always be pinned.
    """

    def pin_memory(self) -> "TensorBatch":
        """Return the batch with all tensors in pinned memory."""
        return TensorBatch(map_tensors(dict(self), torch.Tensor.pin_memory))

    def __deepcopy__(self, memo: Any) -> "TensorBatch":
        # PyTorch copies dense tensors only.
        return TensorBatch(map_tensors(dict(self), torch.Tensor.clone))


send_in_shared_memory(TensorBatch)


def to_tensors(layout: Layout = "csr") -> Callable[[Mapping[str, Any]], TensorBatch]:
    """Return what turns a Loader's dict batches into tensors.

    Give it to :class:`LoaderDataset` as `collate`: it then runs in the workers, and
    tensors reach the main process through shared memory.

    Parameters
    ----------
    layout
        What becomes of sparse X: ``"csr"``, a tensor of layout ``torch.sparse_csr``, or
        ``"dense"``. Dense and padded X become dense tensors in both.

    Returns
    -------
    collate
        A function of a batch. Codes and other integers of obs become int64, as
        embeddings and losses want them; X keeps its type.

    Raises
    ------
    ValueError
        If `layout` is neither.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> x = csr_array(np.eye(2, dtype=np.float32))
    >>> obs = {"drug": np.array([0, 2], np.int32)}
    >>> batch = to_tensors("dense")({"X": x, "obs": obs, "index": np.arange(2)})
    >>> batch["X"]
    tensor([[1., 0.],
            [0., 1.]])
    >>> batch["obs"]["drug"]
    tensor([0, 2])
    """
    if layout not in ("csr", "dense"):
        raise ValueError(f'layout must be "csr" or "dense", got {layout!r}')
    silence_beta_warning()
    return _ToTensors(layout)


@dataclass(frozen=True)
class _ToTensors:
    layout: Layout

    def __call__(self, batch: Mapping[str, Any]) -> TensorBatch:
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"to_tensors takes the dict batches of a Loader over a source, got"
                f" {type(batch).__name__}; open(obj) makes a source of any object"
            )
        made = TensorBatch()
        for name, part in batch.items():
            if name == "obs":
                made[name] = {
                    key: _label_tensor(column) for key, column in part.items()
                }
            elif isinstance(part, Mapping):
                made[name] = {key: to_tensor(array) for key, array in part.items()}
            elif is_csr(part) and self.layout == "dense":
                made[name] = torch.from_numpy(part.toarray())
            else:
                made[name] = to_tensor(part)
        return made


def _label_tensor(column: npt.NDArray[Any]) -> torch.Tensor:
    if np.can_cast(column.dtype, np.int64) and column.dtype.kind in "iu":
        return torch.from_numpy(column.astype(np.int64))
    return torch.from_numpy(column)
