"""The kinds of files and objects that can be opened, each recognised by its content."""

import contextlib
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import why_not_indexed
from ..errors import FileFormatError, nearest
from .base import Source
from .options import OpenOptions

__all__ = ["FILE_FORMATS", "OBJECT_FORMATS", "open_files", "open_object", "paths_of"]


class Format(NamedTuple):
    """A kind of file, or of object, that can be opened.

    Parameters
    ----------
    name
        What it is called in errors.
    module
        The module of this package that opens it, imported when first needed.
    recognise
        Name of the module's function that says whether a path, or an object, is one.
    open
        Name of its function ``(paths, options)``, or ``(object, options)``.
    suits
        A first look that imports nothing: whether the module should be asked.
    is_table
        Whether it is a table, whose genes have numbers and whose columns have names:
        ``open(..., vocabulary=..., columns=...)`` is for these.
    is_soma
        Whether it is of TileDB-SOMA: ``open(..., x="ms/...")`` is for these.
    """

    name: str
    module: str
    recognise: str
    open: str
    suits: Callable[[Any], bool]
    is_table: bool = False
    is_soma: bool = False

    def opened(self, data: Any, options: OpenOptions) -> Source:
        """Return the source over paths, or an object, of this kind."""
        for name in () if self.is_table else ("vocabulary", "columns"):
            if getattr(options, name) is not None:
                raise ValueError(
                    f"{name} goes with tables (Hugging Face, Parquet, Arrow), and this"
                    f" is {self.name}, which names its own genes and matrices"
                )
        if options.x.startswith("ms/") and not self.is_soma:
            raise ValueError(
                f'x="{options.x}" goes with TileDB-SOMA experiments, and this is'
                f" {self.name}"
            )
        source: Source = self.function(self.open)(data, options)
        return source

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function of the module."""
        found: Callable[..., Any] = getattr(
            import_module(f".{self.module}", __package__), name
        )
        return found


def _of_package(*packages: str) -> Callable[[Any], bool]:
    """Return whether an object's class, or a base of it, comes from a package."""

    def suits(obj: Any) -> bool:
        modules = {cls.__module__.partition(".")[0] for cls in type(obj).__mro__}
        return not modules.isdisjoint(packages)

    return suits


# The first that recognises a path, or an object, opens it.
FILE_FORMATS = [
    Format(
        "an .h5mu file", "anndata_files.h5mu", "recognise", "open_h5mu", os.path.isfile
    ),
    Format(
        "an .h5ad file", "anndata_files.h5ad", "recognise", "open_h5ad", os.path.isfile
    ),
    Format(
        "a zarr store",
        "anndata_files.zarr_sources",
        "recognise",
        "open_zarr",
        os.path.exists,
    ),
    Format(
        "a BioNeMo-SCDL folder", "scdl.folders", "recognise", "open_scdl", os.path.isdir
    ),
    Format(
        "a TileDB-SOMA experiment",
        "soma.experiments",
        "recognise",
        "open_soma",
        os.path.isdir,
        is_soma=True,
    ),
    Format(
        "a saved Hugging Face data set",
        "tables.huggingface",
        "recognise",
        "open_folders",
        os.path.isdir,
        is_table=True,
    ),
    Format(
        "a Parquet file",
        "tables.parquet",
        "recognise",
        "open_parquet",
        os.path.exists,
        is_table=True,
    ),
    Format(
        "an Arrow file",
        "tables.parquet",
        "recognise_arrow",
        "open_arrow",
        os.path.isfile,
        is_table=True,
    ),
]
OBJECT_FORMATS = [
    Format(
        "a MultiIndexable",
        "combined.side_by_side",
        "is_several",
        "open_several",
        lambda obj: type(obj).__name__ == "MultiIndexable",
    ),
    Format(
        "a MuData",
        "anndata_files.h5mu",
        "is_mudata",
        "open_mudata",
        _of_package("mudata"),
    ),
    Format(
        "an AnnData",
        "anndata_objects.anndata_object",
        "is_anndata",
        "open_anndata",
        _of_package("anndata"),
    ),
    Format(
        "an AnnCollection",
        "anndata_objects.anncollection",
        "is_collection",
        "open_collection",
        _of_package("anndata"),
    ),
    Format(
        "an open HDF5 file",
        "anndata_files.h5ad",
        "is_handle",
        "open_handle",
        _of_package("h5py"),
    ),
    Format(
        "a zarr group",
        "anndata_files.zarr_sources",
        "is_group",
        "open_group",
        _of_package("zarr"),
    ),
    Format(
        "a TileDB-SOMA experiment",
        "soma.experiments",
        "is_experiment",
        "open_experiment",
        _of_package("tiledbsoma"),
        is_soma=True,
    ),
    Format(
        "a query of a TileDB-SOMA experiment",
        "soma.experiments",
        "is_query",
        "open_query",
        _of_package("tiledbsoma"),
        is_soma=True,
    ),
    Format(
        "a Hugging Face data set",
        "tables.huggingface",
        "is_dataset",
        "open_dataset",
        _of_package("datasets"),
        is_table=True,
    ),
    Format(
        "an array",
        "memory.array_source",
        "is_array",
        "open_array",
        _of_package("numpy", "scipy"),
    ),
    Format(
        "an object indexed by row",
        "memory.indexed_source",
        "is_indexed",
        "open_indexed",
        lambda obj: True,
    ),
]


# What folders are looked through for.
_ENDINGS = ("h5ad", "h5mu", "zarr", "parquet", "arrow", "feather", "h5")


def paths_of(data: object) -> list[str] | None:
    """Return the paths that `data` stands for: a path, a glob, or a list of paths.

    They are absolute, so that they hold whatever the current directory becomes, here
    and in other processes. None if it is none of these.

    Raises
    ------
    FileNotFoundError
        If a path is not there, or a glob matches nothing.
    """
    if isinstance(data, str | bytes | os.PathLike):
        text = os.fspath(data)
        if not isinstance(text, str):
            raise TypeError(f"a path must be text, got {text!r}")
        if Path(text).exists() or not glob.has_magic(text):
            return [_existing(text)]
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207  # absolute ones too
        if not found:
            raise FileNotFoundError(f"no file matches {text}")
        return [str(Path(path).absolute()) for path in found]
    if isinstance(data, list | tuple):
        if not data:
            raise ValueError("an empty list of paths: there is nothing to open")
        if all(isinstance(path, str | os.PathLike) for path in data):
            return [_existing(os.fspath(path)) for path in data]
        if not all(isinstance(one, Number | list | tuple) for one in data):
            raise TypeError(_several(data))
    kind = getattr(getattr(data, "dtype", None), "kind", "")
    if kind in ("U", "T") and getattr(data, "ndim", 0) == 1:
        raise TypeError(
            f"got a {type(data).__name__} of text: give a list of paths, data.tolist()"
        )
    return None


def _several(data: Sequence[object]) -> str:
    """Return what to do with a list that is not of paths."""
    if all(isinstance(one, Source) for one in data):
        return "got a list of sources, which scdataset_core.concat(sources) joins"
    kinds = dict.fromkeys(type(one).__name__ for one in data)
    return (
        f"got a list of {', '.join(kinds)}: open() takes a list of paths, or one"
        " object; objects are opened one by one and joined,"
        " scdataset_core.concat([scdataset_core.open(one, obs=[...]) for one in data])"
    )


def open_files(paths: Sequence[str], options: OpenOptions) -> Source:
    """Open files of one format as one source."""
    formats = [_format_of(path) for path in paths]
    for path, other in zip(paths, formats, strict=True):
        if other is not formats[0]:
            raise FileFormatError(
                f"{paths[0]} is {formats[0].name} and {path} is {other.name}; open"
                " files of one format at a time"
            )
    return formats[0].opened(paths, options)


def open_object(obj: object, options: OpenOptions) -> Source:
    """Open an object in memory as a source."""
    for kind in OBJECT_FORMATS:
        if kind.suits(obj) and kind.function(kind.recognise)(obj):
            return kind.opened(obj, options)
    raise TypeError(
        "open() takes a path, a glob, a list of paths, a NumPy array, a SciPy CSR"
        " matrix, an AnnData, or an object with len() and obj[rows], got"
        f" {type(obj).__name__}: {_instead(obj) or why_not_indexed(obj)}"
    )


def _instead(obj: object) -> str | None:
    """Return what to give in place of an object that is nearly right."""
    if isinstance(obj, Source):
        return "it is open already; give it to a Loader as it is"
    if type(obj).__module__.partition(".")[0] == "pandas":
        return "for a column of paths give a list of them, data.tolist()"
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


def what_x_can_be(name: object, data: object) -> str:
    """Return the error for an `x` that names no matrix, with those that `data` has."""
    known: list[str] = []
    with contextlib.suppress(Exception):  # only a hint is looked for
        paths = paths_of(data)
        options = OpenOptions(allow_external=True)
        source = (
            open_object(data, options)
            if paths is None
            else open_files(paths[:1], options)
        )
        known = [] if source._contents is None else source._contents.matrices
    must = f'x must be "X", "raw/X", "layers/NAME" or "obsm/NAME", got {name!r}'
    same = [matrix for matrix in known if matrix.rpartition("/")[2] == name]
    if same:
        return f'{must}; did you mean "{same[0]}"?'
    return f"{must}; there are: {', '.join(known)}" if known else must


def _format_of(path: str) -> Format:
    for kind in FILE_FORMATS:
        if kind.suits(path) and kind.function(kind.recognise)(path):
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
        f"{path}: not a {what} of a format that is known here ({known}): it has none of"
        " their signatures; if it was cut short or packed, fetch or unpack it again"
    )


def _inside(folder: Path) -> str | None:
    """Return the glob of the files that a folder holds most of, if they are known."""
    for depth in ("", "*/"):
        counts = {
            f"{depth}*.{ending}": sum(1 for _ in folder.glob(f"{depth}*.{ending}"))
            for ending in _ENDINGS
        }
        most = max(counts, key=lambda pattern: counts[pattern])
        if counts[most]:
            return most
    return None


def _existing(path: str) -> str:
    if not Path(path).exists():
        if "://" in path:
            raise FileNotFoundError(
                f"{path}: a path is of local files; open what lies elsewhere with its"
                " own library, and give the object: scd.open(tiledbsoma.open(uri)),"
                " scd.open(zarr.open_group(uri))"
            )
        if path.startswith("~"):
            raise FileNotFoundError(
                f"{path}: only shells take ~ for the home folder; give"
                f" {str(Path(path).expanduser())!r}"
            )
        folder = Path(path).parent
        beside = [other.name for other in folder.iterdir()] if folder.is_dir() else []
        hint = f"; {nearest(Path(path).name, beside)}" if beside else ""
        raise FileNotFoundError(f"{path}: there is no such file{hint}")
    return str(Path(path).absolute())
