"""Where X lies in a file of AnnData's schema, and the names of its columns."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError, MissingNameError, nearest
from ...storage import StoredArray
from ..genes.shared_names import SharedNames
from ..obs.text import decode_attribute
from ..ranged.cell_file import DenseX, SparseX
from .data_frames import StoredFrame
from .file_tree import FileTree
from .frames import describe_frame

__all__ = ["column_names", "describe_dense", "has_matrix", "locate_x", "var_path"]

_MOST_COLUMNS = 2**31 - 1  # what int32 column ids can name

# Before AnnData 0.7, `raw` lay at the top level under these names.
_BEFORE_07 = {"raw/X": "raw.X", "raw/var": "raw.var"}


def locate_x(tree: FileTree, x: str) -> SparseX | DenseX:
    """Return where the matrix called `x` lies.

    Raises
    ------
    MissingNameError
        If there is none of that name.
    FileFormatError
        If it is not laid out as rows.
    """
    path = _path(tree, x)
    found = tree.find(path)
    is_array = tree.is_array(found)
    if found is None:
        folder, _, name = x.partition("/")
        records = tree.find(folder)
        if folder == "obsm" and tree.is_array(records):
            return _describe_field(tree, records, name)
        raise _missing_error(tree, x)
    if _is_null(tree, found):
        raise _missing_error(tree, x)
    encoding = decode_attribute(found.attrs.get("encoding-type", ""))
    if encoding == "dataframe" and x.startswith("obsm/"):
        return describe_frame(tree, path)
    return (
        describe_dense(tree, found, path)
        if is_array
        else _describe_sparse(tree, found, path)
    )


def has_matrix(tree: FileTree, x: str) -> bool:
    """Return whether there is a matrix called `x`."""
    found = tree.find(_path(tree, x))
    return found is not None and not _is_null(tree, found)


def _is_null(tree: FileTree, found: Any) -> bool:
    """Return whether AnnData wrote that there is no matrix here."""
    empty = tree.is_array(found) and found.shape is None
    return empty or decode_attribute(found.attrs.get("encoding-type", "")) == "null"


def column_names(
    tree: FileTree, x: str, n_vars: int, shared: SharedNames | None = None
) -> npt.NDArray[np.object_]:
    """Return the names of the columns of the matrix called `x`.

    The columns of ``obsm/NAME`` are called ``NAME1``, ``NAME2`` and so on, unless it is
    a data frame, whose columns have names.
    """
    folder, _, name = x.partition("/")
    if folder == "obsm":
        found = tree.find(x)
        if found is not None and not tree.is_array(found) and "_index" in found.attrs:
            return np.array(StoredFrame(tree, x).column_names, object)
        return np.array([f"{name}{i + 1}" for i in range(n_vars)], object)
    path = var_path(tree, x)
    assert path is not None  # of obsm only
    names = StoredFrame(tree, path).index(shared)
    if len(names) != n_vars:
        raise FileFormatError(
            f"{tree.file}: {x} has {n_vars} columns and {path} names {len(names)} genes"
        )
    return names


def var_path(tree: FileTree, x: str) -> str | None:
    """Return the path of the data frame of a matrix's columns; None for obsm."""
    folder = x.partition("/")[0]
    if folder == "obsm":
        return None
    return _path(tree, "raw/var") if folder == "raw" else "var"


def _path(tree: FileTree, x: str) -> str:
    before = _BEFORE_07.get(x)
    return before if before is not None and tree.find(before) is not None else x


def _missing_error(tree: FileTree, x: str) -> MissingNameError | FileFormatError:
    folder, _, name = x.partition("/")
    group = tree.group(folder) if name else None
    if x == "X":
        others = ["raw/X"] if tree.find(_path(tree, "raw/X")) is not None else []
        layers = tree.group("layers")
        others += [f"layers/{layer}" for layer in layers or ()]
        hint = f"; x= can name {', '.join(others)}" if others else ""
        other = None if others else _explain_other_program(tree)
        if other is not None:
            return FileFormatError(f"{tree.file}: {other}")
        return FileFormatError(f"{tree.file}: there is no X{hint}")
    known = [f"{folder}/{key}" for key in group] if group is not None else []
    return MissingNameError(f'{tree.file}: there is no "{x}"; {nearest(x, known)}')


def _explain_other_program(tree: FileTree) -> str | None:
    """Return which other program wrote a file, and the line that converts the file.

    Cell Ranger 3 writes a group ``matrix``; version 2 names the group by the genome.
    """
    path = f"{tree.file!r}"
    new = repr(re.sub(r"\.\w+$", "", tree.file) + ".h5ad")
    if any(tree.find(f"{name}/barcodes") is not None for name in tree.root):
        return (
            "a 10x Genomics file of Cell Ranger, which holds cells as columns; convert"
            f" it once: scanpy.read_10x_h5({path}).write_h5ad({new})"
        )
    if tree.find("row_attrs") is not None and tree.find("col_attrs") is not None:
        return (
            "a loom file, which holds cells as columns; convert it once:"
            f" anndata.io.read_loom({path}).write_h5ad({new})"
        )
    if tree.find("assays") is not None and tree.find("cell.names") is not None:
        return (
            "an h5Seurat file, which holds cells as columns; convert it once, in R:"
            f' SeuratDisk::Convert({path}, dest = "h5ad")'
        )
    return None


def describe_dense(tree: FileTree, found: Any, path: str) -> DenseX:
    """Return where dense rows lie, after checking that the array can be that."""
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise FileFormatError(
            f"{tree.file}: {path} is {found.dtype} of shape {found.shape}, expected"
            " numbers of shape (cells, genes)"
        )
    return DenseX(tree.describe_array(found))


def _describe_field(tree: FileTree, records: Any, name: str) -> DenseX:
    names = [str(other) for other in records.dtype.names or ()]
    if name not in names:
        known = [f"obsm/{other}" for other in names]
        raise MissingNameError(
            f'{tree.file}: there is no "obsm/{name}"; {nearest(f"obsm/{name}", known)}'
        )
    dtype = records.dtype[name]
    if len(dtype.shape) != 1 or dtype.base.kind not in "biuf":
        raise FileFormatError(f"{tree.file}: obsm/{name} is {dtype}, expected numbers")
    return DenseX(tree.describe_array(records), name)


def _describe_sparse(tree: FileTree, group: Any, path: str) -> SparseX:
    attrs = group.attrs
    named = attrs.get("encoding-type", attrs.get("h5sparse_format", ""))
    kind = decode_attribute(named).removesuffix("_matrix")
    if kind == "csc":
        raise FileFormatError(
            f"{tree.file}: {path} is stored by columns (CSC), and cells can only be"
            " read from rows; convert it once:"
            f" adata = anndata.read_{tree.format}(path);"
            f" {_conversion(path)};"
            f" adata.write_{tree.format}(new_path)"
        )
    if kind != "csr":
        raise FileFormatError(
            f"{tree.file}: {path} is a group encoded as {kind!r}, expected a dense"
            " data set or a csr_matrix"
        )
    given = attrs.get("shape", attrs.get("h5sparse_shape", ()))
    shape = _read_shape(given)
    data, indices, indptr = (
        _vector(tree, f"{path}/{part}", kinds)
        for part, kinds in (("data", "biuf"), ("indices", "iu"), ("indptr", "iu"))
    )
    if len(shape) != 2 or [indptr.shape[0] - 1] != shape[:1]:
        raise FileFormatError(
            f"{tree.file}: {path} has the shape {shape} and {indptr.shape[0]} row"
            " pointers, expected one more than rows"
        )
    if data.shape != indices.shape:
        raise FileFormatError(
            f"{tree.file}: {path}/data has {data.shape[0]} elements and"
            f" {path}/indices {indices.shape[0]}"
        )
    if not isinstance(shape[1], int) or not 0 <= shape[1] <= _MOST_COLUMNS:
        raise FileFormatError(
            f"{tree.file}: {path} has the shape {shape}, expected at most"
            f" {_MOST_COLUMNS} columns"
        )
    x = SparseX(data, indices, indptr, shape[1])
    _check_end(tree, path, x)
    return x


def _read_shape(given: Any) -> list[Any]:
    """Return the shape that an attribute holds; what is no number stays as it is."""
    try:
        shape = np.asarray(given).reshape(-1).tolist()
    except ValueError:  # lists of lists of different lengths
        shape = list(given)
    # Programs in R write the shape as floats.
    return [int(n) if isinstance(n, float) and n.is_integer() else n for n in shape]


def _check_end(tree: FileTree, path: str, x: SparseX) -> None:
    """Raise if the row pointers end elsewhere than the stored elements do.

    Where pointers overflowed their type, the rows behind look empty, and no other check
    would find that.
    """
    end = tree.last_value(tree.dataset(f"{path}/indptr"))
    if end == 0 and len(x.data) and tree.format == "zarr":  # where absent files are 0
        raise FileFormatError(
            f"{tree.file}: {x.indptr.name} says that all rows are empty, and there are"
            f" {len(x.data)} stored elements; the store was not copied whole, copy it"
            " again"
        )
    if end != len(x.data):
        raise CorruptFileError(
            f"{tree.file}: {x.indptr.name} ({x.indptr.dtype}) ends at {end}, and there"
            f" are {len(x.data)} stored elements: its rows are not those that were"
            " written, as where pointers overflowed or a write was interrupted; write"
            " the file again"
        )


def _vector(tree: FileTree, path: str, kinds: str) -> StoredArray:
    dataset: Any = tree.dataset(path)
    if dataset.ndim != 1 or dataset.dtype.kind not in kinds:
        what = "integers" if kinds == "iu" else "numbers"
        raise FileFormatError(
            f"{tree.file}: {path} is {dataset.dtype} of shape {dataset.shape},"
            f" expected a vector of {what}"
        )
    return tree.describe_array(dataset)


def _conversion(path: str) -> str:
    """Return what converts a matrix to rows, as users of AnnData write it."""
    if path == "raw/X":  # which cannot be set
        return "raw = adata.raw.to_adata(); raw.X = raw.X.tocsr(); adata.raw = raw"
    folder, _, name = path.partition("/")
    where = f'{folder}["{name}"]' if name else folder
    return f"adata.{where} = adata.{where}.tocsr()"
