"""Where X and the names of its columns lie in a TileDB-SOMA experiment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, MissingNameError, nearest
from ..genes.numbered_genes import LEFT_OUT, UNKNOWN
from ..rows import Rows
from .coordinates import SomaX
from .obs_columns import JOINID, SomaText, read_joinids
from .store import RowIds, SomaArray, SomaStore

__all__ = ["FoundX", "SomaGenes", "find_x", "name_column", "read_genes"]

# The measurement, and its layer of X, that are read where there are several.
_MEASUREMENT, _LAYER = "RNA", "data"

# Columns that name cells or genes in tiledbsoma, then in the CELLxGENE Census.
_NAMES = ("obs_id", "var_id", "feature_id")
_INDEX_HINT = "soma_dataframe_original_index_name"

_MOST_GENES = 1 << 24


@dataclass(frozen=True)
class FoundX:
    """A matrix that was asked for.

    Parameters
    ----------
    array
        The matrix.
    measurement
        The measurement it is of.
    var
        The table of its columns; None if there is none, as in obsm.
    column
        How columns without a table are called: this name and a number.
    """

    array: SomaArray
    measurement: str
    var: SomaArray | None
    column: str = ""

    def x(self, ids: RowIds, genes: "SomaGenes", *, n_cells: int) -> SomaX:
        """Return where some cells of it lie.

        Parameters
        ----------
        ids
            The cells.
        genes
            Its columns.
        n_cells
            How many cells the experiment has.
        """
        handle = self.array.handle
        if handle.soma_type not in ("SOMASparseNDArray", "SOMADenseNDArray"):
            raise FileFormatError(
                f"{self.array.where} is a {handle.soma_type}, expected an array"
            )
        is_sparse_array = bool(handle.is_sparse)
        last_cell = int(ids.cut(ids.n - 1, ids.n)[0])
        shape = tuple(handle.shape)
        dtype = np.dtype(handle.type.to_pandas_dtype())
        if len(shape) != 2 or dtype.kind not in "biuf":
            raise FileFormatError(
                f"{self.array.where} is {dtype} of shape {shape}, expected numbers of"
                " shape (cells, genes)"
            )
        if last_cell >= shape[0] or len(genes.columns) > shape[1]:
            raise FileFormatError(
                f"{self.array.where} has the shape {shape}, and there are cells up to"
                f" {last_cell} and genes up to {len(genes.columns) - 1}; resize it, or"
                " write the experiment again"
            )
        return SomaX(
            self.array,
            ids,
            genes.columns,
            len(genes.names),
            dtype,
            n_stored=int(handle.nnz) if is_sparse_array else n_cells * shape[1],
            n_cells=n_cells,
            is_sparse_array=is_sparse_array,
            sparse=is_sparse_array and self.var is not None,
        )


@dataclass(frozen=True)
class SomaGenes:
    """The columns of X: their names, and the column of each id from 0 on."""

    names: npt.NDArray[np.object_]
    columns: npt.NDArray[np.int32]


def find_x(
    experiment: Any,  # Any: a tiledbsoma.Experiment
    store: SomaStore,
    x: str,
    measurement: str | None,
) -> FoundX:
    """Return the matrix that ``x=`` asks for.

    ``"ms/NAME/..."`` names its measurement, and so does a query. Where none is named,
    the only measurement is meant, or the one called RNA. ``"raw/X"`` is X of the
    measurement that tiledbsoma makes of ``raw``.
    """
    inner = x
    if x.startswith("ms/"):
        _, measurement, inner = (*x.split("/", 2), "X")[:3]
    elif x == "raw/X":
        measurement, inner = "raw", "X"
    known = sorted(experiment.ms) if "ms" in experiment else []
    if measurement is None:
        measurement = _only(store, known)
    _check_known(store, "measurement", measurement, known)
    held = experiment.ms[measurement]
    folder, _, name = inner.partition("/")
    folder = "X" if folder == "layers" else folder
    layers = sorted(held[folder]) if folder in held else []
    if not name and folder == "X":
        name = _LAYER if _LAYER in layers or len(layers) != 1 else layers[0]
    where = f"ms/{measurement}/{folder}"
    _check_known(store, f"matrix in {where}", name, layers)
    array = SomaArray.of(store, held[folder][name].uri, f"{where}/{name}")
    if folder == "obsm":
        return FoundX(array, measurement, None, name)
    if "var" not in held:
        raise FileFormatError(
            f"{store.name}: ms/{measurement} has no var, the table of its genes"
        )
    var = SomaArray.of(store, held.var.uri, f"ms/{measurement}/var")
    return FoundX(array, measurement, var)


def read_genes(found: FoundX, wanted: Rows | None) -> SomaGenes:
    """Return the columns of X, those alone whose ids are `wanted`."""
    if found.var is None:
        n = int(found.array.handle.shape[1])
        if n > _MOST_GENES:
            raise FileFormatError(
                f"{found.array.where} has {n} columns, expected at most {_MOST_GENES};"
                " tiledbsoma_upgrade_shape gives it the shape of what it holds"
            )
        names = np.array([f"{found.column}{i}" for i in range(1, n + 1)], object)
        return SomaGenes(names, np.arange(n, dtype=np.int32))
    every = read_joinids(found.var)
    ids = every if wanted is None else wanted
    if len(ids) == 0 or every[0] < 0 or every[-1] >= _MOST_GENES:
        raise FileFormatError(
            f"{found.var.where} has {len(ids)} genes with ids from"
            f" {every.min(initial=0)} to {every.max(initial=0)}, expected at least one,"
            f" and ids in [0, {_MOST_GENES})"
        )
    columns = np.full(int(every[-1]) + 1, UNKNOWN, np.int32)
    columns[every] = LEFT_OUT
    columns[ids] = np.arange(len(ids), dtype=np.int32)
    return SomaGenes(_gene_names(found.var, RowIds.of(ids)), columns)


def _gene_names(var: SomaArray, ids: RowIds) -> npt.NDArray[np.object_]:
    column = name_column(var)
    if column is None:
        return ids.cut(0, ids.n).astype(str).astype(object)
    names = SomaText.of(var, ids, column).read(0, ids.n)
    return np.array([str(name) for name in names], object)


def name_column(table: SomaArray) -> str | None:
    """Return the column that names cells or genes; None: there is none."""
    import pyarrow.types as pt

    schema = table.handle.schema
    hint = table.handle.metadata.get(_INDEX_HINT)
    hinted = json.loads(hint) if isinstance(hint, str) else None
    for name in (*_NAMES, hinted):
        if name in schema.names and name != JOINID:
            kind = schema.field(name).type
            if pt.is_string(kind) or pt.is_large_string(kind):
                return str(name)
    return None


def _only(store: SomaStore, known: Sequence[str]) -> str:
    """Return the measurement that is meant where none is named."""
    apart = [name for name in known if name != "raw"]
    if len(apart) == 1:
        return apart[0]
    if _MEASUREMENT in apart or not apart:
        return _MEASUREMENT
    raise FileFormatError(
        f"{store.name} has the measurements {', '.join(apart)}, and none is called"
        f' {_MEASUREMENT}; name the one to read: open(..., x="ms/{apart[0]}/X")'
    )


def _check_known(store: SomaStore, what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise MissingNameError(
            f'{store.name} has no {what} called "{name}"; {nearest(name, known)}'
        )
