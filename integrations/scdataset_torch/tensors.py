"""Convert the arrays and CSR rows of a nested batch to tensors, one by one."""

import copy
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

__all__ = [
    "is_csr",
    "make_csr_tensor",
    "map_nested",
    "map_tensors",
    "silence_beta_warning",
    "to_tensor",
]


def to_tensor(part: Any) -> Any:
    """Return a tensor that shares the memory of an array or a CSR array.

    Anything else is returned as it is.
    """
    if isinstance(part, np.ndarray):
        return torch.from_numpy(part if part.flags.writeable else part.copy())
    if is_csr(part):
        return make_csr_tensor(
            torch.from_numpy(part.indptr),
            torch.from_numpy(part.indices),
            torch.from_numpy(part.data),
            part.shape,
        )
    return part


def make_csr_tensor(
    crow: torch.Tensor, col: torch.Tensor, values: torch.Tensor, shape: Any
) -> torch.Tensor:
    """Return a tensor of layout ``torch.sparse_csr``, given its three parts."""
    silence_beta_warning()
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


def map_nested(data: Any, change: Callable[[Any], Any]) -> Any:
    """Return nested mappings, lists and tuples in which every leaf is changed."""
    if isinstance(data, Mapping):
        changed = {name: map_nested(part, change) for name, part in data.items()}
        return changed if type(data) is dict else _make_like(data, changed)
    if isinstance(data, list | tuple):
        parts = (map_nested(part, change) for part in data)
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return change(data)


def _make_like(data: Any, changed: dict[Any, Any]) -> Any:
    """Return a mapping of the type of `data` with other values.

    The result is a dict if that type does not allow updates.
    """
    try:
        mapping = copy.copy(data)
        mapping.update(changed)
    except (AttributeError, TypeError):
        return changed
    return mapping


def map_tensors(data: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return nested data in which every tensor is changed; a CSR one part by part."""

    def change_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.layout != torch.sparse_csr:
            return change(leaf)
        crow, col = change(leaf.crow_indices()), change(leaf.col_indices())
        return make_csr_tensor(crow, col, change(leaf.values()), leaf.shape)

    return map_nested(data, change_leaf)


def is_csr(part: Any) -> bool:
    """Return whether `part` is a CSR array or matrix of SciPy."""
    return getattr(part, "format", None) == "csr" and hasattr(part, "indptr")


@cache
def silence_beta_warning() -> None:
    """Make PyTorch give its once-a-process warning of CSR tensors, and suppress it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        empty = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(
            empty, empty[:0], empty[:0].float(), (0, 1), check_invariants=False
        )
