"""What a Loader draws from: a source, or any object that is indexed by row."""

from typing import Any

from .checks import count_rows, why_not_indexed
from .sources.base import Source

__all__ = ["checked_collection", "fingerprint_of", "shown"]


def checked_collection(collection: Any) -> Any:
    """Return `collection` after checking that it can be indexed with rows."""
    if not isinstance(collection, Source):
        reason = why_not_indexed(collection)
        if reason is not None:
            raise TypeError(reason)
    if count_rows(collection) == 0:
        files = collection.files if isinstance(collection, Source) else ()
        where = f"{', '.join(files[:3])}: " if files else ""
        raise ValueError(
            f"{where}the {type(collection).__name__} has no rows; there is nothing to"
            " yield"
        )
    return collection


def fingerprint_of(collection: Any) -> str:
    """Return what tells a collection from others; of no path and no time."""
    if isinstance(collection, Source):
        return collection.fingerprint
    shape = getattr(collection, "shape", ())
    stored = getattr(collection, "nnz", None)
    return f"{count_rows(collection)} rows, shape {tuple(shape)}, stored {stored}"


def shown(collection: Any) -> str:
    """Return how a collection is shown in a `repr`."""
    if isinstance(collection, Source):
        return repr(collection)
    shape = getattr(collection, "shape", (count_rows(collection),))
    return f"{type(collection).__name__} of shape {tuple(shape)}"
