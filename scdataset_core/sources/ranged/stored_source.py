"""Cells in files of AnnData's schema: one file, or several as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError
from ...form import Form
from ...storage import StoredArray, default_context
from ...storage.cache import Cache
from ...storage.remote.urls import is_url
from ..contents import Container, Contents
from ..fingerprints import fingerprint
from ..genes.joins import GeneJoin, join_genes
from ..genes.var_columns import join_var
from ..obs.columns import Column
from ..obs.joined_columns import JoinedColumns, join_obs
from ..obs.obs_readers import FileObs, SourceWithObs
from ..obs.text import TextArray
from ..options import OpenOptions
from ..read_request import ReadRequest
from ..rows import Rows, files_of_sorted
from .cell_file import CellFile, DenseX, SparseX
from .dense_rows import DenseReader
from .description import describe
from .file_list import LateFiles, View, facts_of, largest_kept
from .kept_pointers import KeptPointers
from .row_arrays import KEPT_BYTES, KEPT_CODE_BYTES, KeptArrays
from .row_pointers import find_longest_row
from .sparse_rows import SparseReader
from .storage_blocks import find_block_starts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StoredSource", "join_files"]

# Files of an index of which a description tells how they are stored.
_MOST_SHOWN = 100

# With so much of X in a cache, reading is seldom held up by decoding.
_MOSTLY_CACHED = 0.98
# Bytes that a value and its column seldom exceed in a cache.
_KEPT_BYTES = 4


class StoredSource(SourceWithObs):
    """Cells in one or more files, read by ranges.

    Made by :func:`scdataset_core.open`.

    Parameters
    ----------
    cell_files
        Where everything lies in each file.
    genes
        How the genes of the files are joined.
    obs
        The columns carried.
    x
        Which matrix X is.
    notices
        What the user is warned of, besides what is noticed of the labels.
    cache
        Keeps decoded chunks of X.
    """

    def __init__(
        self,
        cell_files: Sequence[CellFile],
        genes: GeneJoin,
        obs: JoinedColumns,
        *,
        x: str,
        notices: Sequence[str] = (),
        cache: Cache | None = None,
    ) -> None:
        facts = facts_of(cell_files)
        is_late = isinstance(cell_files, LateFiles)
        self.indexed = is_late
        self.files = facts.files
        self.file_starts = np.cumsum([0, *facts.n_obs.tolist()], dtype=np.int64)
        self.x = x
        self.genes_report = genes.report
        self._genes = genes
        self._facts = facts
        self._xs: Sequence[Any] = View(cell_files, _x_of)
        self._containers: Sequence[Container | None] = View(cell_files, _container_of)
        names: Sequence[TextArray | None] = View(cell_files, _names_of)
        if not is_late:
            self._xs, names = tuple(self._xs), tuple(names)
            self._containers = tuple(self._containers)
        self._longest: int | None = None
        self._block_starts: Rows | None = None
        self.sparse = bool(facts.sparse.all())
        if not self.sparse and facts.sparse.any():
            sparse, dense = int(facts.sparse.argmax()), int(facts.sparse.argmin())
            raise FileFormatError(
                f"{x} is sparse in {self.files[sparse]} and dense in"
                f" {self.files[dense]}; write it the same way in all files"
            )
        self._plain = facts.plain
        self._is_far = any(is_url(file) for file in self.files)
        self.cache = cache
        if cache is not None:
            from ...storage.cache.filling import attach_cache

            attach_cache(self.x_arrays(), cache)
            if self._is_far and not is_late:
                attach_cache(self._arrays_by_cell(obs), cache)
        filled = facts.chunk_rows[facts.n_obs > 0]
        one = facts.chunk_rows[:1]
        self.natural_block = round(np.median(filled if len(filled) else one))
        self.dtype = np.result_type(*facts.dtypes)
        pointers: KeptPointers | None = None
        most = KEPT_BYTES
        if self.sparse:
            pointers = KeptPointers(
                self._xs, self.file_starts, facts.n_stored, KEPT_BYTES
            )
            most -= pointers.n_bytes
        small = obs.keep_small(self.file_starts, most, KEPT_CODE_BYTES)
        most -= small.n_bytes
        most_code = KEPT_CODE_BYTES - small.n_code_bytes
        if isinstance(cell_files, LateFiles):
            kept = KeptArrays.up_to(largest_kept(cell_files.obs_bytes, most))
        else:
            kept = KeptArrays(obs.numbers(small), obs.codes(small), most, most_code)
        obs_reader = FileObs(obs, names, self.file_starts, kept, small)
        self._set_obs(obs_reader, genes.names, notices)
        self._reader: SparseReader | DenseReader
        if pointers is not None:
            reader = SparseReader(
                self._xs, self.file_starts, genes, pointers, self.dtype
            )
            self._column_bytes = reader.column_dtype.itemsize
            self._reader = reader
        else:
            self._reader = DenseReader(self._xs, self.file_starts, genes, self.dtype)

    @property
    def concurrent(self) -> bool:  # type: ignore[override]
        """Whether two threads may read at a time, and gain by it.

        Decoding takes the interpreter's lock for every chunk. But of objects in stores,
        the next fetch is asked for while this one is decoded.
        """
        if self._plain or self._is_far:
            return True
        arrays = self.cacheable_arrays()
        if not arrays:
            return False
        from ...storage.cache.filling import cached_share

        return cached_share(arrays, flush=False) > _MOSTLY_CACHED

    def x_arrays(self) -> list[StoredArray]:
        """Return the arrays that hold X in all files."""
        return [
            array
            for x in self._xs
            for array in (
                (x.data, x.indices) if isinstance(x, SparseX) else (x.values,)
            )
        ]

    def _arrays_by_cell(self, obs: JoinedColumns) -> list[StoredArray]:
        """Return the arrays beside X that are read: row pointers, columns of obs."""
        arrays: list[object] = [x.indptr for x in self._xs if isinstance(x, SparseX)]
        arrays += [*obs.numbers(), *(codes for codes, _ in obs.codes())]
        return [array for array in arrays if isinstance(array, StoredArray)]

    def cacheable_arrays(self) -> Sequence[StoredArray]:
        """Return the arrays of X whose decoded chunks a cache keeps."""
        return [] if self.cache is None else super().cacheable_arrays()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_block_starts": None}  # of all chunks: not small

    def __repr__(self) -> str:
        shown = self._xs[:_MOST_SHOWN] if self.indexed else self._xs
        return describe(self, shown, self.genes_report)

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes: what all files say of them."""
        containers = [c for c in self._containers if c is not None]
        if len(containers) < len(self.files):
            return super().var
        tables = (container.var() for container in containers)
        return join_var(self._genes, tables, self.files)

    @property
    def contents(self) -> Contents | None:
        """Names of what the first file holds, from descriptions alone."""
        container = self._containers[0]
        return None if container is None else container.contents()

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row counts, stored counts, genes and what X is."""
        facts = {
            "x": self.x,
            "rows": self._facts.n_obs,
            "stored": self._facts.n_stored,
            "genes": self.var_names,
        }
        return fingerprint(facts)

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row (of genes for dense rows)."""
        if not self.sparse:
            return float(self.shape[1])
        return int(self._facts.n_stored.sum()) / max(len(self), 1)

    def reading_bytes(self, form: Form) -> float:
        """Return the mean bytes that reading a row takes besides what is held of it."""
        extra = super().reading_bytes(form)
        # Dense rows of another type than the source's are converted once all are read.
        dtypes = self._facts.dtypes
        if not self.sparse and any(dtype != self.dtype for dtype in dtypes):
            extra += self.mean_stored * max(dtype.itemsize for dtype in dtypes)
        if self.cacheable_arrays():  # kept elements are read in narrower types first
            extra += self.mean_stored * _KEPT_BYTES
        pair = self.dtype.itemsize + (self._column_bytes if self.sparse else 0)
        if self.sparse and self._genes.moves_columns:
            extra += self.mean_stored * pair
        if self._is_far:  # what comes is held until it is decoded or placed
            extra += self.mean_stored * pair
        return extra

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row.

        With genes left out it may be less: then it is at most their number.
        """
        if not self.sparse:
            return self.shape[1]
        if self._longest is None:
            sparse = [x for x in self._xs if isinstance(x, SparseX)]
            self._longest = max(find_longest_row(x) for x in sparse)
        if not self._genes.moves_columns:
            return self._longest
        return min(self._longest, self.shape[1])

    def read_lengths(self, rows: Rows) -> Rows:
        """Return the stored values of non-decreasing rows, from the row pointers."""
        if isinstance(self._reader, DenseReader):
            return super().read_lengths(rows)
        self._genes.check_all_kept()
        files = files_of_sorted(rows, self.file_starts)
        starts, stops = self._reader.pointers.find(rows, files, default_context())
        return stops - starts

    @property
    def block_starts(self) -> Rows:
        """First row of the rows that start inside each storage chunk, int64.

        Increasing; every file starts a block. The chunks are those of the values; or
        those of the column ids, where these hold more elements. For data in one piece,
        every `natural_block` rows. One pass over the row pointers, when first asked
        for.
        """
        if self._block_starts is None:
            files = zip(self.file_starts[:-1], self._xs, strict=True)
            firsts = [
                start + find_block_starts(x, self.natural_block) for start, x in files
            ]
            self._block_starts = np.concatenate(firsts)
        return self._block_starts

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        return self._reader.read(request)


def join_files(
    cell_files: Sequence[CellFile], options: OpenOptions, *, notices: Sequence[str] = ()
) -> StoredSource:
    """Return the source over files, one after the other.

    Parameters
    ----------
    cell_files
        Where everything lies in each file.
    options
        How genes are joined, and which genes and labels are kept.
    notices
        What the user is warned of, besides what is noticed of the labels.
    """
    names: Sequence[Any]  # Any: arrays of names
    if isinstance(cell_files, LateFiles):
        files, names = cell_files.facts.files, cell_files.var_names
        columns = cell_files.columns
    else:
        files = tuple(cell_file.file for cell_file in cell_files)
        names = [cell_file.var_names for cell_file in cell_files]
        columns = [cell_file.obs for cell_file in cell_files]
    genes = join_genes(files, names, options.join, options.genes)
    obs = join_obs(files, columns, options.obs, options.categories)
    if isinstance(cell_files, LateFiles):
        obs = obs.read_from(
            {name: View(cell_files, _ColumnOf(name)) for name in obs.columns}
        )
    return StoredSource(
        cell_files, genes, obs, x=options.x, notices=notices, cache=options.cache
    )


def _x_of(cell_file: CellFile) -> SparseX | DenseX:
    return cell_file.x


def _container_of(cell_file: CellFile) -> Container | None:
    return cell_file.container


def _names_of(cell_file: CellFile) -> TextArray | None:
    return cell_file.names


@dataclass(frozen=True)
class _ColumnOf:
    """Returns the obs column of a name of a file."""

    name: str

    def __call__(self, cell_file: CellFile) -> Column:
        return cell_file.obs[self.name]
