"""`Format`: what a format of files, or a kind of object, declares about itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ScdatasetError
from ..storage import StoredArray
from ..storage.remote.object_store import ObjectStore
from .base import Source
from .options import OpenOptions

__all__ = ["FileNode", "Format", "comes_from"]


@dataclass(frozen=True)
class FileNode:
    """A group or an array of a file.

    Parameters
    ----------
    path
        Its path in the file, without a leading slash; "" for the root.
    node
        The object of h5py or zarr, open as long as the file is walked over; None where
        it cannot be looked at.
    error
        What is wrong with it, as with a link that leads nowhere.
    describe
        Returns the array by which its ranges are read; None for a group.
    """

    path: str
    node: Any  # Any: h5py's or zarr's, whose attrs, shape and dtype mean the same
    error: ScdatasetError | None = None
    describe: Callable[[Any], StoredArray] | None = None


@dataclass(frozen=True)
class Format:
    """A format of files, or a kind of object, that can be opened.

    A declaration is light: it is imported with the package, so it imports the module
    that does the work inside of `open`, and whatever else is heavy inside of
    `recognise`.

    Parameters
    ----------
    name
        How errors call it, with its article: ``"an .h5ad file"``.
    recognise
        Returns whether a path (that exists), or an object, is of this format. Every
        path is tried on every format in turn, so it should look at little: the head of
        a file, the names in a folder, the class of an object.
    open
        Takes the paths of one or more files, or the object, and the options of
        :func:`scdataset_core.open`; returns the source over all their cells.
    endings
        How names of such files usually end, without the dot. They recognise nothing:
        where a folder is opened by mistake, the error suggests the files in it by them.
    own_options
        Those of the options that few formats have, and this one takes: of
        ``"vocabulary"``, ``"columns"``, ``"cache"`` and ``"ms"``
        (``x="ms/MEASUREMENT/..."``).
    recognise_object
        Returns whether an object of a store, or a folder of objects, is of this format:
        of the store and its name there; None: only local files are. `open` then gets
        such names among its paths, and finds the store by ``options.store_of(path)``.
    walk
        Yields every group and array of a file, for tools that look at whole files; of
        an object, the store is a second argument. None: such tools open the file, and
        see what a source shows.
    isolates
        Whether ``open(..., isolated=True)`` reads such files in a child process. Then
        `recognise` and `walk` are functions of a module, and `open` sees to itself.
    """

    name: str
    recognise: Callable[[Any], bool]  # Any: a path, or any object
    open: Callable[[Any, OpenOptions], Source]  # Any: a list of paths, or an object
    endings: tuple[str, ...] = ()
    own_options: frozenset[str] = frozenset()
    recognise_object: Callable[[ObjectStore, str], bool] | None = None
    walk: Callable[..., Iterator[FileNode]] | None = None
    isolates: bool = False


def comes_from(obj: object, *packages: str) -> bool:
    """Return whether an object's class, or a base of it, is of one of the packages.

    Nothing is imported: the package of an object that is there has been imported.
    """
    modules = {cls.__module__.partition(".")[0] for cls in type(obj).__mro__}
    return not modules.isdisjoint(packages)
