"""What a Loader draws from: a source, or any object that is indexed by row."""

from typing import Any

from .checks import count_rows, why_not_indexed
from .sources.base import Source

__all__ = ["checked_collection", "described", "fingerprint_of", "shown"]


def checked_collection(collection: Any) -> Any:
    """Return `collection` after checking that it can be indexed with rows."""
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
    """Refuse HDF5 over a Python file object, whose position forked workers share.

    Each would read where another one has just moved it, and get other rows. A source
    over it refuses to be read outside its process.
    """
    if type(collection).__module__.partition(".")[0] != "h5py":
        return
    if collection.file.driver == "fileobj":
        raise TypeError(
            f"{collection.name} lies in an HDF5 file over a Python file object, which"
            " only this process can read; give scdataset_core.open(dataset), which"
            " keeps to it, or the path of the file"
        )


def fingerprint_of(collection: Any) -> str:
    """Return what tells a collection from others; of no path and no time."""
    if isinstance(collection, Source):
        return collection.fingerprint
    shape = getattr(collection, "shape", ())
    stored = getattr(collection, "nnz", None)
    return f"{count_rows(collection)} rows, shape {tuple(shape)}, stored {stored}"


def described(collection: Any) -> str:
    """Return in a few words what a collection is, of no path and no time."""
    if not isinstance(collection, Source):
        return shown(collection)
    n_cells, n_genes = collection.shape
    n_files = len(collection.files)
    where = "" if not n_files else f" in {n_files} file{'s' * (n_files > 1)}"
    return f"{n_cells:,} cells x {n_genes:,} genes{where}"


def shown(collection: Any) -> str:
    """Return how a collection is shown in a `repr`."""
    if isinstance(collection, Source):
        return repr(collection)
    shape = getattr(collection, "shape", (count_rows(collection),))
    return f"{type(collection).__name__} of shape {tuple(shape)}"
