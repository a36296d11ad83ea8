"""What every source of cells is: rows by number, with X, labels and gene names."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..cells import Cells
from ..checks import check_widths
from ..errors import MissingNameError
from ..form import Form, OutputName, Overflow, StoredRows, Width, find_output
from ..notebook_html import html_of_text
from .contents import Contents
from .genes.joins import FileGenes
from .obs.labelled_cells import LabelledCells
from .read_request import ReadRequest
from .rows import Rows, check_rows, scatter_values

if TYPE_CHECKING:
    import pandas as pd

    from ..storage import ReadContext, StoredArray
    from ..storage.cache import Cache

__all__ = ["Source"]

_WIDTH_STEP = 128  # of padded rows: accelerators like multiples of it


class Source(LabelledCells):
    """Cells that can be read by row number.

    Made by :func:`scdataset_core.open`. A source is small: what it reads stays in its
    files. It pickles, and opens its files again in the process that uses it.

    Notes
    -----
    A new format is a subclass. It sets the attributes below, and implements
    :attr:`obs_columns`, :attr:`fingerprint`, :attr:`mean_stored`, :meth:`longest_row`,
    :meth:`read_x` and :meth:`read_obs`; if it can also :meth:`read_names`,
    :meth:`count_missing`, :attr:`block_starts`, :attr:`var` and :attr:`contents`.
    Rows that these get were checked: they do not decrease, and the source has them.
    Sources that are made of sources read from each other through the same methods.

    Attributes
    ----------
    files : tuple of str
        The files, in the order of their rows; empty for objects in memory.
    file_starts : ndarray of int64
        First row of each file, and the number of rows at the end.
    sparse : bool
        Whether X is stored as sparse rows.
    dtype : numpy.dtype
        Type of the values of X.
    concurrent : bool
        Whether two threads may read at a time, and gain by it.
    natural_block : int
        Rows in a typical storage chunk.
    genes_report : tuple of FileGenes
        For each file, what a join and a selection of genes leave out or add.
    notices : tuple of str
        What was found on opening that the user should know.
    parts : mapping of str to Source
        Where X is several arrays, a source for each; empty where it is one.
    cache : Cache or None
        Where decoded chunks are kept.
    indexed : bool
        Whether an index says what the files are, so that none was touched.
    """

    files: tuple[str, ...]
    file_starts: Rows
    sparse: bool
    dtype: np.dtype[Any]
    concurrent: bool = False
    natural_block: int
    genes_report: tuple[FileGenes, ...] = ()
    notices: tuple[str, ...] = ()
    parts: "Mapping[str, Source]" = MappingProxyType({})
    cache: "Cache | None" = None
    indexed: bool = False
    _column_bytes = 4  # of the column of a stored value, as it is read

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells and of genes."""
        return int(self.file_starts[-1]), len(self.info.var_names)

    def _repr_html_(self) -> str:
        return html_of_text(repr(self))

    def __len__(self) -> int:
        return int(self.file_starts[-1])

    @property
    def var_names(self) -> npt.NDArray[np.object_]:
        """Names of the genes, in the order of the columns of X."""
        return self.info.var_names

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes: a pandas frame, read when asked for.

        Its index is :attr:`var_names`, so ``genes=`` is applied. Of several files it
        has the columns of the first that all have, where they agree on the genes that
        they share: what differs, as a mean over the cells of a file does, is left out.
        Of several arrays it is that of the first; ``source.parts`` has the others'.
        Columns of ``obsm`` have names only.

        Raises
        ------
        MissingNameError
            If the data has no such table.
        """
        raise MissingNameError(
            f"there is no var: a {type(self).__name__} knows its genes by name only,"
            " source.var_names"
        )

    @property
    def contents(self) -> Contents | None:
        """Names of what the (first) file or object holds; None if that is unknown."""
        return None

    @property
    def block_starts(self) -> Rows | None:
        """First row of the rows that start inside each storage chunk, or None.

        Non-decreasing, from 0; None where the layout of the storage is not known.
        """
        return None

    def x_arrays(self) -> "Sequence[StoredArray]":
        """Return the arrays that hold X, where ranges of them are read from files."""
        return ()

    def cacheable_arrays(self) -> "Sequence[StoredArray]":
        """Return the arrays of X whose decoded chunks a cache keeps."""
        return [array for array in self.x_arrays() if array.chunk_cache is not None]

    @property
    def cached(self) -> float:
        """Share of X's stored chunks that lie in the cache, 0.0 to 1.0.

        It is 0.0 without a cache, and for data that are not compressed, which none is
        needed for.
        """
        from ..storage.cache.filling import cached_share

        return cached_share(self.cacheable_arrays())

    def fill_cache(
        self,
        progress: Callable[[int, int], object] | None = None,
        threads: int | None = None,
    ) -> float:
        """Read everything once, in file order, and keep it in the cache.

        Parameters
        ----------
        progress
            Called now and then with the bytes that are done and those there are.
        threads
            Threads that decode; None: one a core, at most 8.

        Returns
        -------
        share
            :attr:`cached`: 1.0 when all is kept; less where the cache is full or
            cannot be written, which a warning says; 0.0 where nothing is compressed.

        Raises
        ------
        ValueError
            If the source was opened without a cache.
        CorruptFileError
            If chunks are damaged; the message names file, data set and chunk.
        """
        from ..storage.cache.filling import fill_caches

        if self.cache is None:
            raise ValueError(
                "this source has no cache to fill; open it with one:"
                ' open(..., cache="folder")'
            )
        return fill_caches(self.cacheable_arrays(), progress, threads)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of row counts, stored counts and genes; of no path and no time."""

    @property
    @abstractmethod
    def mean_stored(self) -> float:
        """Mean number of stored values a row (of genes for dense rows)."""

    @abstractmethod
    def longest_row(self) -> int:
        """Return the largest number of stored values in a row, `genes` applied."""

    def read_lengths(self, rows: Rows) -> Rows:
        """Return what non-decreasing rows store; raise ValueError if it is unknown."""
        known = "when they are read" if self.sparse else "to be all genes"
        known = "to each of its parts" if self.parts else known
        raise ValueError(
            f"the length of rows of a {type(self).__name__} is known {known}"
        )

    @abstractmethod
    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request.

        Parameters
        ----------
        request
            Which rows are read, into which minibatches, in which form.

        Returns
        -------
        batches
            For each minibatch its X in ``request.form``, its row i being
            ``request.batch_rows(batch)[i]``: a CSR array, an array, or the dict of
            padded rows, as :func:`scdataset_core.form.pack_rows` makes them.
        """

    @property
    def stored_form(self) -> Form:
        """The form in which X is stored."""
        return Form("csr" if self.sparse else "dense")

    def form_of(
        self,
        output: OutputName | None = None,
        *,
        dtype: npt.DTypeLike | None = None,
        width: Width = None,
        overflow: Overflow = "error",
    ) -> Form:
        """Return the form that batches of this source have.

        Parameters
        ----------
        output
            As stored if None.
        dtype
            Type of the values; as stored by default.
        width
            Columns of padded rows, or the several that a minibatch may have; by default
            the longest stored row (at most the genes selected), rounded up to 128.
        overflow
            What happens to longer rows, see :class:`scdataset_core.form.Form`.
        """
        stored = self.stored_form.output
        layout = stored if output is None else find_output(output).layout_of(stored)
        if isinstance(width, Mapping):
            raise TypeError(
                "width by name goes with several arrays, and X is one here: give an"
                " integer"
            )
        widths: tuple[int, ...] = ()
        if find_output(layout).takes_width:
            if width is None:
                longest = max(1, min(self.longest_row(), self.shape[1]))
                width = -(-longest // _WIDTH_STEP) * _WIDTH_STEP
            widths = check_widths(width)
        value_type = None if dtype is None else np.dtype(dtype).newbyteorder("=")
        largest = max(widths, default=None)
        several = widths if len(widths) > 1 else ()
        return Form(layout, value_type, largest, overflow, widths=several)

    def row_lengths(self, rows: npt.ArrayLike | None = None) -> Rows:
        """Return the number of stored values of rows, without reading X.

        Parameters
        ----------
        rows
            Row numbers, shape ``(k,)``, in any order; all rows by default.

        Returns
        -------
        lengths
            int64, shape ``(k,)``.

        Raises
        ------
        ValueError
            Of dense rows, where genes are left out, and without row pointers.
        """
        if rows is None:
            return self.read_lengths(np.arange(len(self), dtype=np.int64))
        wanted = np.asarray(rows)
        order = np.argsort(wanted, kind="stable")
        lengths = np.empty(wanted.shape, np.int64)
        lengths[order] = self.read_lengths(self.check_rows(wanted[order]))
        return lengths

    def row_bytes(self, form: Form) -> float:
        """Return the mean bytes of a row as it is held in `form`."""
        return form.row_bytes(self._stored_rows)

    def reading_bytes(self, form: Form) -> float:
        """Return the mean bytes that reading a row takes besides what is held of it.

        Rows are read as they are stored. What has another type or layout is a copy,
        and both are in memory until the fetch is whole.
        """
        return form.reading_bytes(self._stored_rows)

    @property
    def _stored_rows(self) -> StoredRows:
        """How rows are stored, on average."""
        column_bytes = self._column_bytes if self.sparse else 0
        return StoredRows(self.shape[1], self.mean_stored, self.dtype, column_bytes)

    def read(self, rows: npt.ArrayLike, places: npt.ArrayLike | None = None) -> Cells:
        """Read rows into memory.

        Parameters
        ----------
        rows
            Row numbers, shape ``(k,)``, non-decreasing; repeats are allowed.
        places
            Where each row goes in the result, a permutation of ``range(k)``; in the
            order of `rows` by default.

        Returns
        -------
        cells
            `k` cells; X as stored (CSR or dense).

        Raises
        ------
        ValueError
            If `rows` decrease or are not integers, or `places` is no permutation.
        IndexError
            If a row is outside ``[0, len(source))``.
        OSError
            If a file cannot be read, naming file, data set and chunk.
        """
        from ..storage.context import default_context

        checked = self.check_rows(rows)
        return self.read_batches(
            checked,
            np.arange(len(checked)) if places is None else np.asarray(places),
            np.array([0, len(checked)], np.int64),
            self.stored_form,
            default_context(),
        )[0]

    def read_batches(
        self,
        rows: Rows,
        places: Rows,
        bounds: Rows,
        form: Form,
        context: "ReadContext",
    ) -> list[Cells]:
        """Read rows into several minibatches at once, each with buffers of its own.

        Parameters
        ----------
        rows
            Non-decreasing row numbers, shape ``(k,)``.
        places
            Place of each row in the concatenation of all minibatches, shape ``(k,)``.
        bounds
            Where each minibatch starts among the places, and `k` at the end.
        form
            The layout of X.
        context
            Threads, buffers and counters for the read.

        Raises
        ------
        ValueError, IndexError
            As :meth:`read`; also if `bounds` do not cut the places into minibatches.
        """
        rows = self.check_rows(rows)
        request = ReadRequest(rows, places, bounds, form, context)
        batches_x = self.read_x(request)
        obs = {
            name: scatter_values(values, request.places)
            for name, values in self.read_obs(rows, context).items()
        }
        names = self.read_names(rows)
        if names is not None:
            names = scatter_values(names, request.places)
        return [
            Cells(
                x,
                {name: values[start:stop].copy() for name, values in obs.items()},
                request.rows_by_place[start:stop].copy(),
                self.info,
                None if names is None else names[start:stop].copy(),
            )
            for x, start, stop in zip(batches_x, bounds[:-1], bounds[1:], strict=True)
        ]

    def check_rows(self, rows: npt.ArrayLike) -> Rows:
        """Return `rows` as int64 after checking order and range."""
        return check_rows(rows, len(self))
