"""The formats that can be opened, and the choice of the one that opens given data."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checks import why_not_indexed
from ..errors import FileFormatError, ObjectMissingError
from ..multiindexable import MultiIndexable
from ..storage.isolation import call_isolated
from ..storage.remote.object_store import ObjectStore
from .anndata_files.formats import (
    H5AD_FILES,
    H5MU_FILES,
    HDF5_HANDLES,
    INDEXES,
    SAVED_INDEXES,
    ZARR_GROUPS,
    ZARR_STORES,
)
from .anndata_objects.formats import ANNCOLLECTIONS, ANNDATAS, MUDATAS
from .base import Source
from .format_declaration import FileNode, Format
from .memory.formats import ARRAYS, INDEXED_OBJECTS
from .options import OpenOptions
from .paths import paths_of
from .remote_data import find_remote, is_remote, missing_object
from .scdl.formats import SCDL_FOLDERS
from .soma.formats import SOMA_EXPERIMENTS, SOMA_FOLDERS, SOMA_QUERIES
from .tables.formats import (
    ARROW_FILES,
    HUGGINGFACE_DATASETS,
    HUGGINGFACE_FOLDERS,
    PARQUET_FILES,
)

__all__ = [
    "FileNode",
    "Format",
    "format_of",
    "format_of_object",
    "is_index",
    "open_files",
    "open_object",
    "register",
    "what_x_can_be",
]

_GZIP = b"\x1f\x8b"


def _is_several(obj: object) -> bool:
    return isinstance(obj, MultiIndexable)


def _open_several(multi: MultiIndexable, options: OpenOptions) -> Source:
    from .combined.side_by_side import open_several

    return open_several(multi, options, open_object)


# The first format that recognises a path, or an object, opens it.
FILE_FORMATS = [
    H5MU_FILES,
    H5AD_FILES,
    ZARR_STORES,
    SCDL_FOLDERS,
    SOMA_FOLDERS,
    HUGGINGFACE_FOLDERS,
    PARQUET_FILES,
    ARROW_FILES,
    SAVED_INDEXES,
]
OBJECT_FORMATS = [
    Format("a MultiIndexable", _is_several, _open_several),
    INDEXES,
    MUDATAS,
    ANNDATAS,
    ANNCOLLECTIONS,
    HDF5_HANDLES,
    ZARR_GROUPS,
    SOMA_EXPERIMENTS,
    SOMA_QUERIES,
    HUGGINGFACE_DATASETS,
    ARRAYS,
    INDEXED_OBJECTS,
]


def register(file_format: Format) -> None:
    """Add a format of files, which :func:`scdataset_core.open` then opens by path.

    Formats that are registered are tried before those of this package, the latest
    first. One that is registered again, under the same name, replaces the earlier one.

    Parameters
    ----------
    file_format
        Says which paths are of the format, and returns a
        :class:`~scdataset_core.Source` over the cells of one or more of them.

    Examples
    --------
    Files of NumPy's own format, which lie on disk as they would lie in memory:

    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> from scdataset_core.sources.formats import Format, register
    >>> def is_npy(path):
    ...     return path.endswith(".npy")
    >>> def open_npy(paths, options):
    ...     arrays = [np.load(path, mmap_mode="r") for path in paths]
    ...     parts = [scd.open(array, genes=options.genes) for array in arrays]
    ...     return scd.concat(parts)
    >>> register(Format("an .npy file", is_npy, open_npy, endings=("npy",)))
    >>> np.save("cells.npy", np.eye(4, dtype=np.float32))
    >>> scd.open("cells.npy").shape
    (4, 4)
    """
    if not isinstance(file_format, Format):
        raise TypeError(
            f"register() takes a scdataset_core.sources.formats.Format, got"
            f" {type(file_format).__name__}"
        )
    others = [known for known in FILE_FORMATS if known.name != file_format.name]
    FILE_FORMATS[:] = [file_format, *others]


def open_files(paths: Sequence[str], options: OpenOptions) -> Source:
    """Open files of one format as one source."""
    formats = [
        format_of(path, isolated=options.isolated)
        if (store := options.store_of(path)) is None
        else format_of_object(path, store)
        for path in paths
    ]
    for path, other in zip(paths, formats, strict=True):
        if other is not formats[0]:
            raise FileFormatError(
                f"{paths[0]} is {formats[0].name} and {path} is {other.name}; open"
                " files of one format at a time"
            )
    return _open(formats[0], paths, options)


def open_object(obj: object, options: OpenOptions) -> Source:
    """Open an object in memory as a source."""
    if options.isolated:
        raise ValueError(
            f"isolated=True goes with paths, and a {type(obj).__name__} is open in this"
            " process already; give the path of its file"
        )
    for kind in OBJECT_FORMATS:
        if kind.recognise(obj):
            return _open(kind, obj, options)
    raise TypeError(
        "open() takes a path, a glob, a list of paths, a NumPy array, a SciPy CSR"
        " matrix, an AnnData, or an object with len() and obj[rows], got"
        f" {type(obj).__name__}: {_instead(obj) or why_not_indexed(obj)}"
    )


def _open(kind: Format, data: Any, options: OpenOptions) -> Source:
    """Open data of a known format; refuse options that belong to other formats."""
    for name in ("vocabulary", "columns"):
        if getattr(options, name) is not None and name not in kind.own_options:
            raise ValueError(
                f"{name} goes with tables (Hugging Face, Parquet, Arrow), and this"
                f" is {kind.name}, which names its own genes and matrices"
            )
    if options.cache is not None and "cache" not in kind.own_options:
        raise ValueError(
            "cache goes with .h5ad and .h5mu files and zarr stores, whose compressed"
            f" chunks it keeps, and this is {kind.name}; leave cache out"
        )
    if options.x.startswith("ms/") and "ms" not in kind.own_options:
        raise ValueError(
            f'x="{options.x}" goes with TileDB-SOMA experiments, and this is'
            f" {kind.name}"
        )
    return kind.open(data, options)


def _instead(obj: object) -> str | None:
    """Return the advice for an object that is nearly right, or None."""
    if isinstance(obj, Source):
        return "it is open already; give it to a Loader as it is"
    if type(obj).__module__.partition(".")[0] == "pandas":
        return (
            "for a column of paths give a list of them, data.tolist(), and for a table"
            " of cells its numbers, data.to_numpy()"
        )
    if hasattr(obj, "read") and hasattr(obj, "seek"):
        name = getattr(obj, "name", None)
        path = repr(name) if isinstance(name, str) else "path"
        return (
            f"a file object is not read in place; give its path, open({path}), or what"
            " is not a local file as h5py.File(file), which only this process can read"
        )
    if isinstance(obj, Iterator):
        return (
            "what it yields has no fixed order, as the files of Path.glob(); give a"
            " list, sorted(Path(folder).glob('*.h5ad')), or the glob as text,"
            " 'folder/*.h5ad'"
        )
    if isinstance(obj, dict | set | frozenset):
        return "give a list of paths, whose order is that of the cells"
    return None


def what_x_can_be(
    name: object,
    data: object,
    storage_options: Mapping[str, Any] | None = None,
    *,
    allow_external: bool = False,
    isolated: bool = False,
) -> str:
    """Return the error for an `x` that names no matrix; it lists those of `data`.

    The data are opened with the caution that the user has asked for.
    """
    known: list[str] = []
    with contextlib.suppress(Exception):  # only a hint is looked for
        options = OpenOptions(allow_external=allow_external, isolated=isolated)
        paths = None if is_remote(data) else paths_of(data)
        if is_remote(data):
            found = find_remote(data, storage_options)
            paths, options = found.paths, OpenOptions(store=found.store)
        source = (
            open_object(data, options)
            if paths is None
            else open_files(paths[:1], options)
        )
        known = [] if source.contents is None else source.contents.matrices
    must = f'x must be "X", "raw/X", "layers/NAME" or "obsm/NAME", got {name!r}'
    same = [matrix for matrix in known if matrix.rpartition("/")[2] == name]
    if same:
        return f'{must}; did you mean "{same[0]}"?'
    return f"{must}; there are: {', '.join(known)}" if known else must


def is_index(data: object, paths: Sequence[str] | None) -> bool:
    """Return whether data, or one of the paths that it stands for, is an index."""
    if paths is None:
        return INDEXES.recognise(data)
    return any(SAVED_INDEXES.recognise(path) for path in paths)


def format_of(path: str, *, isolated: bool = False) -> Format:
    """Return the format that recognises a path; an error says what the path is.

    `isolated` says whether libraries that read its content may do so in a child process
    alone.
    """
    for kind in FILE_FORMATS:
        if isolated and kind.isolates:
            recognised = call_isolated(kind.recognise, path, file=path)
        else:
            recognised = kind.recognise(path)
        if recognised:
            return kind
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise FileFormatError(f"{path}: the file is empty")
    if Path(path).is_dir() and (inside := _inside(Path(path))):
        raise FileFormatError(
            f"{path}: a folder of {inside}; open the files in it together:"
            f" open({str(Path(path, inside))!r})"
        )
    what = "folder" if Path(path).is_dir() else "file"
    known = ", ".join(kind.name for kind in FILE_FORMATS)
    raise FileFormatError(
        f"{path}: not a {what} of a format that is known here ({known}):"
        f" {_why_unknown(Path(path))}"
    )


def format_of_object(name: str, store: ObjectStore) -> Format:
    """Return the format of an object, or of a folder of objects, in a store."""
    readable = [kind for kind in FILE_FORMATS if kind.recognise_object is not None]
    # A folder need not be looked for as a file first.
    readable.sort(
        key=lambda kind: name.endswith(".zarr") and "zarr" not in kind.endings
    )
    for kind in readable:
        assert kind.recognise_object is not None
        if kind.recognise_object(store, name):
            return kind
    try:
        n_bytes = store.identify(name).n_bytes
    except ObjectMissingError:
        missing = missing_object(name, store)
    else:
        if not n_bytes:
            raise FileFormatError(f"{name}: the object is empty")
        known = ", ".join(kind.name for kind in readable)
        raise FileFormatError(
            f"{name}: only {known} is read in place from object stores, and this is"
            " none of them; copy it to a local disk, and open that"
        )
    raise missing


def _why_unknown(path: Path) -> str:
    """Return why no format recognises a path, and what to do."""
    if path.is_dir() and not any(path.iterdir()):
        return "it is empty"
    if path.is_dir():
        return "it has none of their signatures"
    with path.open("rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            return "all of it is packed with gzip; unpack it first, with gunzip"
    return (
        "it has none of their signatures; if it was cut short or packed, fetch or"
        " unpack it again"
    )


def _inside(folder: Path) -> str | None:
    """Return the glob of the files that a folder holds most of, if they are known."""
    endings = [ending for kind in FILE_FORMATS for ending in kind.endings]
    for depth in ("", "*/"):
        counts = {
            f"{depth}*.{ending}": sum(1 for _ in folder.glob(f"{depth}*.{ending}"))
            for ending in endings
        }
        most = max(counts, key=lambda pattern: counts[pattern])
        if counts[most]:
            return most
    return None
