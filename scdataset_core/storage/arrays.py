"""One array of a file, read by ranges."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .context import ReadContext, default_context
from .formats.hdf5 import Description, describe
from .formats.zarr import describe_zarr
from .layout import ArrayLayout
from .reading.read_requests import read_requests
from .reading.requests import Request

if TYPE_CHECKING:
    import h5py
    import zarr

__all__ = ["StoredArray"]


class StoredArray(ArrayLayout):
    """One array of a file, read by ranges of rows without the format's library.

    Small, and pickles: files are opened, and the chunk table is made, in the process
    that reads, when it first does. Made by :meth:`from_hdf5` and
    :meth:`from_zarr`.

    Attributes
    ----------
    file, name : str
        Where the array lies.
    shape : tuple of int
        Its shape.
    dtype : numpy.dtype
        Type of what is read, in native byte order.
    chunk_rows : int or None
        Rows in a chunk; None where it is not stored in chunks.
    nbytes_stored : int
        Bytes it takes in its file.
    """

    @classmethod
    def from_hdf5(
        cls, dataset: "h5py.Dataset", *, whole: bool = False
    ) -> "StoredArray":
        """Return the array that an open HDF5 dataset is.

        The dataset's file may be closed afterwards, unless it is in memory or open for
        writing. What this library cannot decode is read through h5py: variable-length
        strings, virtual and external data without a word, unknown filters with a
        warning.

        Parameters
        ----------
        dataset
            The dataset.
        whole
            Whether all of it must have been written; else what never was is its fill
            value.

        Raises
        ------
        FileFormatError
            If it is a scalar, has no value, or has a filter that neither this library
            nor HDF5 can undo.
        """
        return cls._described(describe(dataset, whole=whole))

    @classmethod
    def from_zarr(cls, array: "zarr.Array") -> "StoredArray":
        """Return the array that an open zarr array is.

        In a local folder its chunks and shards are read and decoded here; arrays of
        other stores, text, and those with codecs unknown here through zarr-python.

        Parameters
        ----------
        array
            The array.

        Raises
        ------
        FileFormatError
            If it is a scalar, or holds pickled objects.
        """
        return cls._described(describe_zarr(array))

    @classmethod
    def _described(cls, found: Description) -> "StoredArray":
        return cls(
            found.file,
            found.name,
            shape=found.shape,
            dtype=found.dtype,
            grid=found.grid,
            library=found.library,
            contiguous=found.contiguous,
        )

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        context: ReadContext | None = None,
    ) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``, shape ``(stop - start, *shape[1:])``.

        Parameters
        ----------
        start, stop
            The rows, ``0 <= start <= stop <= len(array)``; `stop` is the end by
            default.
        context
            Threads and counters to read with; None: those of one-off reads.

        Raises
        ------
        ValueError
            If the rows are out of bounds.
        CorruptFileError
            If chunks are damaged; the message names file, data set and chunk.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ValueError(
                f"rows must be in [0, {len(self)}], the length of {self.label}, got"
                f" {start} to {stop}"
            )
        target: npt.NDArray[Any] = np.empty((stop - start, *self.shape[1:]), self.dtype)
        zero = np.zeros(1, np.int64)
        request = Request(
            self, np.array([start]), np.array([stop]), [target], zero, zero
        )
        read_requests([request], default_context() if context is None else context)
        return target
