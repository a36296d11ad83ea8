"""CellInfo: what all cells of one source share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CellInfo"]


@dataclass(frozen=True)
class CellInfo:
    """What all cells of one source share.

    Parameters
    ----------
    var_names
        Names of the columns of X, shape ``(n_vars,)``.
    categories
        For each obs column that is held as codes, the label of each code.
    ordered
        The columns of codes whose labels are in an order that has a meaning.
    parts
        Where X is several arrays: the names of the columns of each.
    """

    var_names: npt.NDArray[np.object_]
    categories: dict[str, list[Any]] = field(default_factory=dict)
    ordered: frozenset[str] = frozenset()
    parts: dict[str, npt.NDArray[np.object_]] = field(default_factory=dict)
