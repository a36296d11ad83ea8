"""Bytes by which texts in HDF5 files are known to be the same, without decoding."""

from typing import TYPE_CHECKING

from .arrays import StoredArray
from .context import default_context
from .formats.hdf5 import describe_references
from .formats.hdf5_heaps import REFERENCE, read_text

if TYPE_CHECKING:
    import h5py

__all__ = ["text_key"]


def text_key(dataset: "h5py.Dataset") -> bytes | None:
    """Return bytes that another text has only if all its entries are the same.

    Parameters
    ----------
    dataset
        Text of variable length, one-dimensional, in an open file.

    Returns
    -------
    key
        None where only HDF5 can read the text.
    """
    found = describe_references(dataset)
    if found is None:
        return None
    array = StoredArray(**found._asdict())
    references = array.read().view(REFERENCE)
    descriptor = default_context().open_source(array.table.location(0)).descriptor
    if descriptor is None:
        return None
    text = read_text(descriptor, references)
    return None if text is None else text.key
