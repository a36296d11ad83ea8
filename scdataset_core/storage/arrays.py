"""Arrays of files that are read by ranges of rows."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .context import ReadContext, default_context
from .formats.description import Description
from .layout import ArrayLayout
from .reading.read_requests import check_lengths, read_requests
from .reading.requests import Request
from .remote.object_store import ObjectStore

if TYPE_CHECKING:
    import h5py
    import zarr

__all__ = ["StoredArray"]


class StoredArray(ArrayLayout):
    """One array of a file, read by ranges of rows without the format's library.

    :meth:`from_hdf5` and :meth:`from_zarr` make one. It is small, and pickles: the
    process that reads opens the files and makes the chunk table, when it first reads.

    Attributes
    ----------
    file, name : str
        The file that holds the array, and the array's name there.
    shape : tuple of int
        Its shape.
    dtype : numpy.dtype
        Type of the elements that a read gives, in native byte order.
    chunk_rows : int or None
        Rows in a chunk; None where the array is not stored in chunks.
    nbytes_stored : int
        Bytes that the array takes in its file.
    """

    @classmethod
    def from_hdf5(
        cls,
        dataset: "h5py.Dataset",
        *,
        whole: bool = False,
        place: tuple[str, ObjectStore] | None = None,
    ) -> "StoredArray":
        """Return an open HDF5 dataset as an array.

        The dataset's file may be closed afterwards, unless it is in memory or open for
        writing. Data that this library cannot decode are read through h5py:
        variable-length strings, virtual and external data silently, data with unknown
        filters with a warning.

        Parameters
        ----------
        dataset
            The dataset.
        whole
            Whether all of it must have been written; else chunks that never were
            are read as the fill value.
        place
            Name and store of the object that the file is; None: it is a local file.

        Raises
        ------
        FileFormatError
            If it is a scalar, has no value, or has a filter that neither this library
            nor HDF5 can undo.
        """
        # Here, so that no format loads the others.
        from .formats.hdf5 import describe, describe_references

        made = cls._from_description(describe(dataset, whole=whole, place=place))
        if made.grid is None and place is None and made.dtype.kind == "O":
            found = describe_references(dataset, quietly=True)
            if found is not None:
                made.references = cls._from_description(found)
        return made

    @classmethod
    def from_zarr(cls, array: "zarr.Array") -> "StoredArray":
        """Return an open zarr array as an array.

        This library reads and decodes the chunks and shards of a local folder.
        zarr-python reads arrays of other stores, text, and arrays with codecs that are
        unknown here.

        Parameters
        ----------
        array
            The array.

        Raises
        ------
        FileFormatError
            If the array is a scalar, or holds pickled objects.
        """
        from .formats.zarr import describe_zarr

        return cls._from_description(describe_zarr(array))

    @classmethod
    def _from_description(cls, found: Description) -> "StoredArray":
        return cls(**found._asdict())

    def check_lengths(self) -> None:
        """Raise if it has texts that claim to be longer than its file.

        Reads of this array look at the lengths first; other reads of its data set, as
        by h5py, do not.

        Raises
        ------
        FileFormatError
            If it has.
        """
        whole = np.array([0, len(self)])
        check_lengths(self, whole[:1], whole[1:], default_context())

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
