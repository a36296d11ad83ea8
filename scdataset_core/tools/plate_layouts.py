"""Layouts of X in plate files: types of the arrays, and elements of their chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import h5py

__all__ = ["LAYOUTS", "LayoutName", "PlateLayout", "choose_chunks", "create_x"]

LayoutName = Literal["default", "tahoe", "cellxgene"]


@dataclass(frozen=True)
class PlateLayout:
    """How the arrays of X lie in a file.

    Parameters
    ----------
    ids
        Type of the column ids. Files with more than 2^31 stored counts have int64 ones,
        since SciPy gives column ids and row pointers the same type.
    elements
        Length of the arrays that h5py chose the chunks for; None: that of the plate's.
        Chunks grow with an array, and those of the ids have half the elements where an
        id takes twice the bytes of a count.
    """

    ids: npt.DTypeLike
    elements: int | None


# The elements give chunks of 122,031 values and 61,016 ids (plates of Tahoe-100M, with
# about 8 * 10^9 stored counts each), and of 14,649 and 7,325 (files of CELLxGENE, whose
# writer makes the arrays for its first part and appends the others).
LAYOUTS: Mapping[str, PlateLayout] = MappingProxyType(
    {
        "default": PlateLayout(np.int32, None),
        "tahoe": PlateLayout(np.int64, 7_997_400_000),
        "cellxgene": PlateLayout(np.int64, 15_000_000),
    }
)


def create_x(
    file: h5py.Group,
    layout: PlateLayout,
    *,
    shape: tuple[int, int],
    n_stored: int,
    compression: str | None,
) -> Any:  # Any: a class that AnnData does not export
    """Create an X without rows, and return what appends some: AnnData's CSR data set.

    Parameters
    ----------
    file
        The file, which has no X.
    layout
        Types and chunks of the arrays.
    shape
        Rows that there will be, and columns.
    n_stored
        About how many counts there will be.
    compression
        Filter of the arrays, as h5py has it.
    """
    from anndata.io import sparse_dataset

    group = file.create_group("X")
    group.attrs.update(
        {
            "encoding-type": "csr_matrix",
            "encoding-version": "0.1.0",
            "shape": np.array([0, shape[1]]),
        }
    )
    large = np.dtype(layout.ids).itemsize == 8 or n_stored >= 2**30
    length = n_stored if layout.elements is None else layout.elements
    for name, dtype, size in (
        ("data", np.float32, length),
        ("indices", layout.ids, length),
        ("indptr", np.int64 if large else np.int32, shape[0] + 1),
    ):
        _create_array(group, name, np.dtype(dtype), size, compression)
    group["indptr"].resize((1,))
    group["indptr"][0] = 0
    return sparse_dataset(group)


def _create_array(
    group: h5py.Group,
    name: str,
    dtype: np.dtype[Any],
    length: int,
    compression: str | None,
) -> None:
    """Create an empty array, in the chunks h5py chooses for one of that length."""
    chunks = choose_chunks(dtype, length)
    group.create_dataset(
        name, (0,), dtype, maxshape=(None,), chunks=chunks, compression=compression
    )


def choose_chunks(dtype: np.dtype[Any], length: int) -> tuple[int, ...]:
    """Return the chunk shape h5py chooses for an array that is written at once."""
    import h5py

    with h5py.File("shape", "w", driver="core", backing_store=False) as file:
        array = file.create_dataset("x", (length,), dtype, maxshape=(None,))
        return tuple(array.chunks or (length,))
