"""Batches as tensors."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["TensorBatch", "map_nested", "map_tensors", "tensor_of", "to_tensors"]

Layout = Literal["csr", "dense"]


class TensorBatch(dict[str, Any]):
    """A batch of tensors that a ``DataLoader`` with ``pin_memory=True`` can pin.

    PyTorch calls :meth:`pin_memory` where a batch has it. That of a sparse tensor
    depends on the release; its parts can always be pinned.
    """

    def pin_memory(self) -> "TensorBatch":
        """Return the batch with all tensors in pinned memory."""
        return TensorBatch(map_tensors(dict(self), torch.Tensor.pin_memory))


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
    _hush_beta_warning()
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
                made[name] = {key: tensor_of(array) for key, array in part.items()}
            elif _is_csr(part) and self.layout == "dense":
                made[name] = torch.from_numpy(part.toarray())
            else:
                made[name] = tensor_of(part)
        return made


def tensor_of(part: Any) -> Any:
    """Return an array or a CSR array as a tensor that shares its memory."""
    if isinstance(part, np.ndarray):
        return torch.from_numpy(part if part.flags.writeable else part.copy())
    if _is_csr(part):
        return csr_tensor(
            torch.from_numpy(part.indptr),
            torch.from_numpy(part.indices),
            torch.from_numpy(part.data),
            part.shape,
        )
    return part


def csr_tensor(
    crow: torch.Tensor, col: torch.Tensor, values: torch.Tensor, shape: Any
) -> torch.Tensor:
    """Return a tensor of layout ``torch.sparse_csr`` of its three parts."""
    _hush_beta_warning()
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


def map_nested(data: Any, change: Callable[[Any], Any]) -> Any:
    """Return nested mappings, lists and tuples with everything in them changed."""
    if isinstance(data, Mapping):
        return {name: map_nested(part, change) for name, part in data.items()}
    if isinstance(data, list | tuple):
        parts = (map_nested(part, change) for part in data)
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return change(data)


def map_tensors(data: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return nested data with every tensor changed; of a sparse one its parts."""

    def changed(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.layout != torch.sparse_csr:
            return change(leaf)
        crow, col = change(leaf.crow_indices()), change(leaf.col_indices())
        return csr_tensor(crow, col, change(leaf.values()), leaf.shape)

    return map_nested(data, changed)


def _label_tensor(column: npt.NDArray[Any]) -> torch.Tensor:
    if np.can_cast(column.dtype, np.int64) and column.dtype.kind in "iu":
        return torch.from_numpy(column.astype(np.int64))
    return torch.from_numpy(column)


def _is_csr(part: Any) -> bool:
    return getattr(part, "format", None) == "csr" and hasattr(part, "indptr")


@cache
def _hush_beta_warning() -> None:
    """Let PyTorch say, once a process and unheard, that CSR tensors are in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        empty = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(
            empty, empty[:0], empty[:0].float(), (0, 1), check_invariants=False
        )
