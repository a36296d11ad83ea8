"""Writes matrices to an `.h5ad` file in narrow types, laid out for shuffled reads."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..storage.cache.narrowing import common_kind, kept_dtype, narrow

if TYPE_CHECKING:
    import h5py

__all__ = ["MatrixWriter", "TooNarrowError", "kind_of_rows"]

# Elements of a chunk of what is not compressed: chunks are read in part, so they only
# have to be few.
PLAIN_ELEMENTS = 1 << 18
# And of what is compressed: a chunk is decoded whole for any of its cells.
PACKED_ELEMENTS = 1 << 14
CHECK_ELEMENTS = 1 << 22
LENGTHS = 1 << 12  # of rows are a chunk


class TooNarrowError(Exception):
    """Says that values do not fit the type that was chosen; they need `kind`."""

    def __init__(self, name: str, kind: int) -> None:
        super().__init__(name, kind)
        self.name, self.kind = name, kind


class ArrayWriter:
    """Appends to a data set in a narrow type, and keeps a checksum of what it wrote.

    Parameters
    ----------
    group, name
        Where the data set is made.
    dtype
        Its type.
    shape
        Shape of one row of it.
    rows
        Rows of a chunk.
    compression
        What compresses chunks; None: nothing.
    crc
        The checksum of what is in the data set, which is there already; None: it is
        not.

    Attributes
    ----------
    crc : int
        The checksum of what was written.
    """

    def __init__(
        self,
        group: "h5py.Group",
        name: str,
        dtype: np.dtype[Any],
        *,
        shape: tuple[int, ...] = (),
        rows: int,
        compression: str | None,
        crc: int | None = None,
    ) -> None:
        if crc is not None:
            self.data = group[name]
            self.crc = crc
            return
        self.data = group.create_dataset(
            name,
            (0, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(rows, *shape),
            compression=compression,
        )
        self.crc = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Append rows that are of the data set's type."""
        n = len(self.data)
        self.data.resize(n + len(values), axis=0)
        if len(values):
            self.data[n:] = values
        self.crc = zlib.crc32(np.ascontiguousarray(values).data, self.crc)

    def check(self) -> None:
        """Raise OSError unless what the file holds is what was written."""
        crc = 0
        row = int(np.prod(self.data.shape[1:]))
        step = max(CHECK_ELEMENTS // max(row, 1), 1)
        for start in range(0, len(self.data), step):
            values = np.ascontiguousarray(self.data[start : start + step])
            crc = zlib.crc32(values.data, crc)
        if crc != self.crc:
            raise OSError(f"{self.data.name} is not what was written; the disk is bad")


class MatrixWriter:
    """Appends rows of one matrix to a file.

    Parameters
    ----------
    file
        The file.
    path
        Where the matrix goes: ``X``, ``layers/NAME`` or ``obsm/NAME``.
    sparse
        Whether it is sparse.
    dtype
        Type of the values as they come.
    n_columns
        Its columns.
    kind
        The narrow type for the values, see :mod:`scdataset_core.storage.cache`; what
        does not fit raises :class:`TooNarrowError`.
    compression
        What compresses chunks; None: nothing.
    crcs
        What :attr:`crcs` was, where the file has the matrix so far; None: it has not.
    """

    def __init__(
        self,
        file: "h5py.File",
        path: str,
        *,
        sparse: bool,
        dtype: np.dtype[Any],
        n_columns: int,
        kind: int,
        compression: str | None,
        crcs: Sequence[int] | None = None,
    ) -> None:
        self.path, self._kind, self._dtype = path, kind, dtype
        self._n_columns, self._n_rows = n_columns, 0
        of_values, of_ids, of_lengths = crcs or (None, None, None)
        n = PLAIN_ELEMENTS if compression is None else PACKED_ELEMENTS
        kept = self.dtype
        if not sparse:
            parent, _, name = path.rpartition("/")
            group = file.require_group(parent) if parent else file
            rows = max(n // max(n_columns, 1), 1)
            self._values = ArrayWriter(
                group,
                name,
                kept,
                shape=(n_columns,),
                rows=rows,
                compression=compression,
                crc=of_values,
            )
            self._values.data.attrs.update(
                {"encoding-type": "array", "encoding-version": "0.2.0"}
            )
            self._ids: ArrayWriter | None = None
            return
        self._group = file.require_group(path)
        self._values = ArrayWriter(
            self._group, "data", kept, rows=n, compression=compression, crc=of_values
        )
        ids = np.min_scalar_type(max(n_columns - 1, 0))
        self._ids = ArrayWriter(
            self._group, "indices", ids, rows=n, compression=compression, crc=of_ids
        )
        # In the file, so that a later run has them.
        self._lengths = ArrayWriter(
            self._group,
            "lengths",
            np.dtype(np.int64),
            rows=LENGTHS,
            compression=None,
            crc=of_lengths,
        )
        self._n_rows = len(self._lengths.data)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values in the file."""
        return kept_dtype(self._kind, self._dtype)

    @property
    def ids(self) -> str | None:
        """Name of the type of the column ids; None for a dense matrix."""
        return (
            None
            if self._ids is None
            else str(np.min_scalar_type(max(self._n_columns - 1, 0)))
        )

    def append(self, x: Any) -> None:
        """Append rows: CSR for a sparse matrix, else an array."""
        values = x.data if self._ids is not None else np.asarray(x)
        self._values.append(self._narrow(values))
        self._n_rows += x.shape[0]
        if self._ids is not None:
            self._ids.append(x.indices.astype(self._ids.data.dtype))
            self._lengths.append(np.diff(x.indptr).astype(np.int64))

    @property
    def crcs(self) -> list[int]:
        """Checksums of what was written."""
        if self._ids is None:
            return [self._values.crc, 0, 0]
        return [self._values.crc, self._ids.crc, self._lengths.crc]

    def finish(self) -> None:
        """Write the row pointers and what names the matrix; check what was written."""
        self._values.check()
        if self._ids is None:
            return
        self._ids.check()
        self._lengths.check()
        lengths = np.concatenate([np.zeros(1, np.int64), self._lengths.data[...]])
        self._group["indptr"] = np.cumsum(lengths)
        del self._group["lengths"]
        self._group.attrs.update(
            {
                "encoding-type": "csr_matrix",
                "encoding-version": "0.1.0",
                "shape": np.array([self._n_rows, self._n_columns], np.int64),
            }
        )

    def _narrow(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not values.size:
            return values.astype(kept_dtype(self._kind, self._dtype))
        flat = np.ascontiguousarray(values).reshape(-1)
        kind, kept = narrow(flat)
        both = common_kind(kind, self._kind)
        if both != self._kind:
            raise TooNarrowError(self.path, both)
        if kind != self._kind:
            kept = flat.astype(kept_dtype(self._kind, self._dtype))
        return kept.reshape(values.shape)


def kind_of_rows(x: Any) -> int:
    """Return the narrow type that holds the values of some rows: CSR, or an array."""
    values = x.data if hasattr(x, "indptr") else np.asarray(x).reshape(-1)
    return narrow(np.ascontiguousarray(values))[0] if values.size else 1
