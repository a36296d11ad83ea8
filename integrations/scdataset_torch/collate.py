"""Convert a Loader's dict batches to tensors."""

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

    PyTorch calls :meth:`pin_memory` if a batch has that method. Whether a sparse tensor
    can be pinned depends on PyTorch's release; its parts can always be pinned.
    """

    def pin_memory(self) -> "TensorBatch":
        """Return the batch with copies of all tensors in pinned memory."""
        return TensorBatch(map_tensors(dict(self), torch.Tensor.pin_memory))

    def __deepcopy__(self, memo: Any) -> "TensorBatch":
        # PyTorch's own deep copy works for dense tensors only.
        return TensorBatch(map_tensors(dict(self), torch.Tensor.clone))


send_in_shared_memory(TensorBatch)


def to_tensors(layout: Layout = "csr") -> Callable[[Mapping[str, Any]], TensorBatch]:
    """Return a function that converts a Loader's dict batch to tensors.

    Give it to :class:`LoaderDataset` as `collate`: it then runs in the workers, and the
    tensors reach the main process through shared memory.

    Parameters
    ----------
    layout
        Layout of sparse X: ``"csr"`` makes it a tensor of layout ``torch.sparse_csr``,
        ``"dense"`` a dense tensor. Dense and padded X become dense tensors either way.
        Where X is several arrays, each is converted so.

    Returns
    -------
    collate
        The function. Codes and other integers of obs become int64, the type that
        embeddings and losses need, and so do those of groups; X keeps its type.
        Controls of sets are converted as the minibatch is.

    Raises
    ------
    ValueError
        If `layout` is neither ``"csr"`` nor ``"dense"``.

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
        tensors = TensorBatch()
        for name, part in batch.items():
            if name == "obs":
                tensors[name] = {
                    key: _convert_labels(column) for key, column in part.items()
                }
            elif name == "group":
                tensors[name] = _convert_labels(part)
            elif name == "control":
                tensors[name] = dict(self(part))  # one object to send and pin
            else:
                tensors[name] = self._convert(part)
        return tensors

    def _convert(self, part: Any) -> Any:
        """Return an array as a tensor, or several arrays by name, nested or not."""
        if isinstance(part, Mapping):
            return {name: self._convert(inner) for name, inner in part.items()}
        if is_csr(part) and self.layout == "dense":
            return torch.from_numpy(part.toarray())
        return to_tensor(part)


def _convert_labels(column: npt.NDArray[Any]) -> torch.Tensor:
    if np.can_cast(column.dtype, np.int64) and column.dtype.kind in "iu":
        return torch.from_numpy(column.astype(np.int64))
    return torch.from_numpy(column)
