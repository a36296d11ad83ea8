"""The collection a Loader draws from: a source, or any object indexed by row."""

from typing import Any

from .checks import count_rows, why_not_indexed
from .sources.base import Source

__all__ = [
    "check_collection",
    "describe_collection",
    "find_fingerprint",
    "show_collection",
]


def check_collection(collection: Any) -> Any:
    """Return `collection` after checking that it has rows and is indexed by them."""
    if not isinstance(collection, Source):
        reason = why_not_indexed(collection)
        if reason is not None:
            raise TypeError(reason)
        _check_shared(collection)
    if count_rows(collection) == 0:
        files = collection.files if isinstance(collection, Source) else ()
        where = f"{', '.join(files[:3])}: " if files else ""
        raise ValueError(
            f"{where}the {type(collection).__name__} has no rows; there is nothing to"
            " yield"
        )
    return collection


def _check_shared(collection: Any) -> None:
    """Raise for HDF5 over a Python file object, whose position forked workers share.

    A worker would read where another has just moved the position, and get wrong rows.
    (A source over such a file refuses to be read outside its process.)
    """
    if type(collection).__module__.partition(".")[0] != "h5py":
        return
    if collection.file.driver == "fileobj":
        raise TypeError(
            f"{collection.name} lies in an HDF5 file over a Python file object, which"
            " only this process can read; give scdataset_core.open(dataset), which"
            " keeps to it, or the path of the file"
        )


def find_fingerprint(collection: Any) -> str:
    """Return what tells a collection from others; it contains no path and no time."""
    if isinstance(collection, Source):
        return collection.fingerprint
    shape = getattr(collection, "shape", ())
    stored = getattr(collection, "nnz", None)
    return f"{count_rows(collection)} rows, shape {tuple(shape)}, stored {stored}"


def describe_collection(collection: Any) -> str:
    """Return in a few words what a collection is, without paths and times."""
    if not isinstance(collection, Source):
        return show_collection(collection)
    n_cells, n_genes = collection.shape
    n_files = len(collection.files)
    where = "" if not n_files else f" in {n_files} file{'s' * (n_files > 1)}"
    return f"{n_cells:,} cells x {n_genes:,} genes{where}"


def show_collection(collection: Any) -> str:
    """Return what the `repr` of a Loader shows of a collection."""
    if isinstance(collection, Source):
        return repr(collection)
    shape = getattr(collection, "shape", (count_rows(collection),))
    return f"{type(collection).__name__} of shape {tuple(shape)}"
