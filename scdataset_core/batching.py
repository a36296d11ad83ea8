"""Batching: a fetch is read and cut into minibatches, with hooks, in the form asked."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .cells import Cells
from .fetch_memory import find_fetch_factor
from .form import Form, OutputName, Overflow, find_output, pack
from .hooks import Hooks, check_with_source, fill_rows
from .outputs.base import Layout, Output
from .plan import Fetch
from .sizes import Sizes
from .sources.base import Source

if TYPE_CHECKING:
    from .storage import ReadContext

__all__ = [
    "Batching",
    "ObjectBatching",
    "PendingBatch",
    "SourceBatching",
    "make_batching",
]

Rows = npt.NDArray[np.int64]

# Least bytes of a fetch that is read beside another. Two threads that read smaller ones
# wait for each other more than they gain (1 MB: a fifth slower; 2 MB: as fast; 4 MB:
# faster).
_LEAST_BYTES = 3 << 20
_PARTS = {"X", "obs", "index"}  # of a batch of cells
_HDF5_ENDINGS = (".h5ad", ".h5mu", ".h5", ".hdf5")


@dataclass(frozen=True)
class PendingBatch:
    """A minibatch that has been read and not made yet.

    Parameters
    ----------
    data
        What the fetch read, or the minibatch itself where `positions` is None.
    positions
        Where the minibatch stands in `data`.
    n_cells
        Its rows.
    """

    data: Any
    positions: Rows | None
    n_cells: int

    def detach(self) -> "PendingBatch":
        """Return a copy whose minibatch shares no memory with that of this one."""
        if self.positions is not None:  # taking the minibatch copies it
            return self
        return PendingBatch(self.data.copy(), None, self.n_cells)


class Batching:
    """Makes minibatches of the fetches of one collection.

    Parameters
    ----------
    collection
        What the Loader was given.
    hooks
        The user's hooks.
    """

    def __init__(self, collection: Any, hooks: Hooks) -> None:
        self.collection = collection
        self.hooks = hooks

    @property
    def needs_whole_fetches(self) -> bool:
        """Whether all rows of a fetch are read, also those that others yield."""
        return self.hooks.on_fetches

    def count_lanes(self, n_rows: int) -> int:
        """Return how many fetches of `n_rows` are best read at a time."""
        return 1

    def prepare(self) -> None:
        """Import what reading needs, before a thread that reads ahead is started.

        If a process is forked while such a thread imports a module, the child waits for
        ever when it imports the same one: its lock is held by a thread that is not
        there.
        """

    def read(self, fetch: Fetch, context: "ReadContext") -> deque[PendingBatch]:
        """Read a fetch; a thread that reads ahead calls this."""
        raise NotImplementedError

    def make_batch(self, pending: PendingBatch) -> Any:
        """Make a minibatch that was read; the consumer calls this."""
        data = pending.data
        if pending.positions is not None:
            data = self.hooks.select(data, pending.positions)
        return self.hooks.transform_batch(self.finish(data))

    def finish(self, batch: Any) -> Any:
        """Return a minibatch as what was asked for: a dict, an `AnnData` object."""
        return batch

    def fit(self, sizes: Sizes, memory: int | str, *, read_ahead: int) -> Sizes:
        """Return `sizes` with the largest fetch factor that `memory` allows.

        Parameters
        ----------
        sizes
            The sizes that were given.
        memory
            Bytes for fetches, such as ``"2GiB"``.
        read_ahead
            Fetches that are read ahead.

        Raises
        ------
        ValueError
            If the bytes of a row are not known, or `memory` is too little.
        """
        raise ValueError(
            f"memory goes with a source: the rows of a {type(self.collection).__name__}"
            " are of unknown size; give fetch_factor"
        )

    def _cut(self, fetched: Any, fetch: Fetch, positions: Rows) -> deque[PendingBatch]:
        """Cut a fetch, whose place `p` stands at ``positions[p]``, into minibatches."""
        return deque(
            PendingBatch(
                fetched, positions[batch.start : batch.stop], batch.stop - batch.start
            )
            for batch in fetch.batches
        )

    def _read_with_callback(self, fetch: Fetch) -> deque[PendingBatch]:
        """Read a fetch with the user's `fetch_callback`, which gets sorted rows."""
        assert self.hooks.fetch_callback is not None  # the callers' condition
        read = self.hooks.fetch_callback(self.collection, fetch.rows)
        fetched = self.hooks.transform_fetch(self.lay_out(read))
        return self._cut(fetched, fetch, invert(fetch.places))

    def lay_out(self, read: Any) -> Any:
        """Return what a user's `fetch_callback` read in the layout asked for."""
        return read


class ObjectBatching(Batching):
    """Makes minibatches of any object with ``obj[rows]``, in the object's own type."""

    def read(self, fetch: Fetch, context: "ReadContext") -> deque[PendingBatch]:
        """Read ``collection[rows]``, each row once even if it is drawn more often."""
        if self.hooks.fetch_callback is not None:
            return self._read_with_callback(fetch)
        rows, positions = fetch.rows, invert(fetch.places)
        repeats = rows[1:] == rows[:-1]
        if repeats.any():  # many readers (h5py's, for one) want increasing rows
            unique_at = np.concatenate([[0], np.cumsum(~repeats)])
            rows, positions = np.unique(rows), unique_at[positions]
        return self._cut(
            self.hooks.transform_fetch(self.collection[rows]), fetch, positions
        )


class SourceBatching(Batching):
    """Makes minibatches of a Source: dicts, or whatever its output makes of cells.

    Parameters
    ----------
    collection
        The source.
    hooks
        The user's hooks.
    form
        The layout of X.
    output
        What makes a batch of the cells of a minibatch.
    batch_size
        Rows that short batches are filled to, where the layout fills them.
    """

    def __init__(
        self,
        collection: Source,
        hooks: Hooks,
        *,
        form: Form,
        output: Output,
        batch_size: int,
    ) -> None:
        super().__init__(collection, hooks)
        self.form = form
        self.output = output
        self.batch_size = batch_size
        self._finish_cells = output.finisher(collection.info)

    def fit(self, sizes: Sizes, memory: int | str, *, read_ahead: int) -> Sizes:
        """Return `sizes` with the largest fetch factor that `memory` allows."""
        source: Source = self.collection
        # What a cache holds may come to be read two fetches at a time.
        two = source.concurrent or len(source.cacheable_arrays()) > 0
        n_reading = 2 if two and read_ahead else 1
        fetch_factor = find_fetch_factor(
            memory,
            row_bytes=source.row_bytes(self.form),
            batch_size=sizes.batch_size,
            n_buffers=read_ahead + 2,
            reading_bytes=source.reading_bytes(self.form) * n_reading,
        )
        return replace(sizes, fetch_factor=fetch_factor)

    def count_lanes(self, n_rows: int) -> int:
        """Return how many fetches of `n_rows` are best read at a time.

        It is two, so that one is planned or laid out while the bytes of another come
        in, but one where a user's hooks would notice it.
        """
        if self.hooks.on_fetches or not self.collection.concurrent:
            return 1
        n_bytes = n_rows * self.collection.row_bytes(self.collection.stored_form)
        return 2 if n_bytes >= _LEAST_BYTES else 1

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_finish_cells": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._finish_cells = self.output.finisher(self.collection.info)

    def prepare(self) -> None:
        """Import what reading needs, see :meth:`Batching.prepare`."""
        if self.collection.sparse:
            import scipy.sparse  # noqa: F401
        self.form.layout.prepare()
        if self.collection.files:
            from .storage.decoding import deflate

            deflate.prepare()
        if any(file.endswith(_HDF5_ENDINGS) for file in self.collection.files):
            import h5py  # noqa: F401 - imported already, unless the source was pickled

    def read(self, fetch: Fetch, context: "ReadContext") -> deque[PendingBatch]:
        """Read each minibatch into its own buffers, unless a hook wants the fetch."""
        if self.hooks.fetch_callback is not None:
            return self._read_with_callback(fetch)
        n_rows = len(fetch.rows)
        together = self.hooks.on_fetches or self.hooks.batch_callback is not None
        bounds = np.array(
            [0, n_rows] if together else [0, *(batch.stop for batch in fetch.batches)],
            np.int64,
        )
        read = self.collection.read_batches(
            fetch.rows, fetch.places, bounds, self.form, context
        )
        if together:
            everywhere = np.arange(n_rows, dtype=np.int64)
            return self._cut(self.hooks.transform_fetch(read[0]), fetch, everywhere)
        return deque(PendingBatch(cells, None, cells.n_cells) for cells in read)

    def lay_out(self, read: Any) -> Any:
        """Return cells with X in the layout asked for, and other objects unchanged."""
        cells = self._rebuild_cells(read)
        if not isinstance(cells, Cells):
            return read
        return cells.replace(X=pack(cells["X"], form=self.form))

    def finish(self, batch: Any) -> Any:
        """Return what the output makes of cells; other objects stay as they are."""
        cells, more = batch, {}
        if not isinstance(batch, Cells):
            if isinstance(batch, Mapping) and isinstance(self.output, Layout):
                more = {name: batch[name] for name in batch if name not in _PARTS}
                batch = {name: batch[name] for name in batch if name in _PARTS}
            cells = self._rebuild_cells(batch)
        if not isinstance(cells, Cells):
            return {**batch, **more} if more else batch
        layout = self.form.layout
        n_missing = self.batch_size - cells.n_cells
        if n_missing > 0 and layout.fills(cells["X"]):
            more = fill_rows(more, cells.n_cells, layout.fill, n_missing)
            cells = cells.fill(self.batch_size, layout.fill)
        done = self._finish_cells(cells)
        return {**done, **more} if more else done

    def _rebuild_cells(self, batch: Any) -> Any:
        """Return Cells for a plain dict of X, obs and index, which a hook may give."""
        if isinstance(batch, Mapping) and set(batch) == _PARTS:
            return Cells(batch["X"], batch["obs"], batch["index"], self.collection.info)
        return batch


def make_batching(
    collection: Any,  # Any: a Source, or any object with len() and obj[rows]
    hooks: Hooks,
    *,
    output: OutputName | None,
    dtype: npt.DTypeLike | None,
    width: int | Mapping[str, int] | None,
    overflow: Overflow,
    batch_size: int,
) -> Batching:
    """Check the options of a Loader, and return what makes its minibatches.

    Raises
    ------
    ValueError
        If an option goes with a source and `collection` is no source.
    """
    if not isinstance(collection, Source):
        for name, value in (("output", output), ("dtype", dtype), ("width", width)):
            if value is not None:
                raise ValueError(
                    f"{name} goes with a source, and a {type(collection).__name__} is"
                    f" not one: its batches are of its own type; pass"
                    f" scdataset_core.open(obj) for dict batches"
                )
        return ObjectBatching(collection, hooks)
    if width is not None and (output is None or not find_output(output).takes_width):
        raise ValueError('width goes with output="padded"')
    form = collection.form_of(output, dtype=dtype, width=width, overflow=overflow)
    check_with_source(hooks, collection)
    return SourceBatching(
        collection,
        hooks,
        form=form,
        output=find_output(form.output if output is None else output),
        batch_size=batch_size,
    )


def invert(places: Rows) -> Rows:
    """Return which of the sorted rows stands at each place."""
    positions = np.empty_like(places)
    positions[places] = np.arange(len(places), dtype=places.dtype)
    return positions
