"""Batching: a fetch is read and cut into minibatches, with hooks, in the form asked."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .buckets import Buckets
from .cells import Cells, extend, take
from .fetch_memory import RowMemory, find_fetch_factor
from .form import Form, pack
from .hooks import Hooks, fill_rows
from .joined_fetches import count_joined
from .outputs.base import MatrixLayout, Output
from .pending_batches import PendingBatch, find_stops, pend
from .plan import Fetch
from .sets import BatchSets, SetSizes, find_order
from .sizes import Sizes
from .sources.base import Source

if TYPE_CHECKING:
    from .storage import ReadContext

__all__ = [
    "Batching",
    "ObjectBatching",
    "SourceBatching",
]

Rows = npt.NDArray[np.int64]

# Least bytes of a fetch that is read beside another. Two threads that read smaller ones
# wait for each other more than they gain (1 MB: a fifth slower; 2 MB: as fast; 4 MB:
# faster).
_LEAST_BYTES = 3 << 20
_PARTS = {"X", "obs", "index"}  # of a batch of cells
_HDF5_ENDINGS = (".h5ad", ".h5mu", ".h5", ".hdf5")


class Batching:
    """Makes minibatches of the fetches of one collection.

    Parameters
    ----------
    collection
        What the Loader was given.
    hooks
        The user's hooks.
    """

    buckets: Buckets | None = None  # how rows of a fetch are put together by length
    output: Output | None = None  # what makes a batch of cells

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

    def count_joined(self, n_rows: int, n_fetches: int) -> int:
        """Return how many of `n_fetches` of `n_rows` are best read together, as one."""
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
        return self.hooks.transform_batch(self.finish(pending))

    def take(self, pending: PendingBatch) -> Any:
        """Return the rows of a minibatch."""
        if pending.positions is None:
            return pending.data
        return self.hooks.select(pending.data, pending.positions)

    def finish(self, pending: PendingBatch) -> Any:
        """Return a minibatch as what was asked for: a dict, an `AnnData` object."""
        return self.take(pending)

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
        return pend(fetch, lambda start, stop: (fetched, positions[start:stop]))

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
    set_sizes
        How many cells a set has, if minibatches are made of sets.
    """

    def __init__(
        self,
        collection: Source,
        hooks: Hooks,
        *,
        form: Form,
        output: Output,
        batch_size: int,
        set_sizes: SetSizes | None = None,
    ) -> None:
        super().__init__(collection, hooks)
        self.form = form
        self.output: Output = output
        self.batch_size = batch_size
        self.set_sizes = set_sizes
        if form.widths:
            self.buckets = Buckets(form.widths, collection.read_lengths)
        self._has_budget = False
        self._finish_cells = output.finisher(collection.info)

    def fit(self, sizes: Sizes, memory: int | str, *, read_ahead: int) -> Sizes:
        """Return `sizes` with the largest fetch factor that `memory` allows."""
        self._has_budget = True
        row = RowMemory.of(self.collection, self.form, read_ahead=read_ahead)
        n_rows = sizes.batch_size
        if self.set_sizes is not None:
            n_rows = self.set_sizes.count_rows(n_rows)
        fetch_factor = find_fetch_factor(memory, row, batch_size=n_rows)
        return replace(sizes, fetch_factor=fetch_factor)

    def count_lanes(self, n_rows: int) -> int:
        """Return how many fetches of `n_rows` are best read at a time.

        It is two, so that one is planned or laid out while the bytes of another come
        in, but one where a user's hooks would notice it.
        """
        if self.hooks.on_fetches or not self.collection.concurrent:
            return 1
        return 2 if n_rows * self._stored_row_bytes >= _LEAST_BYTES else 1

    def count_joined(self, n_rows: int, n_fetches: int) -> int:
        """Return how many of `n_fetches` of `n_rows` are best read together, as one.

        It is one where a user's hooks would notice it, or memory was said.
        """
        hooks = self.hooks
        if self._has_budget or hooks.on_fetches or hooks.batch_callback is not None:
            return 1
        laid_out = self.collection.row_bytes(self.form)
        stored = self._stored_row_bytes
        return count_joined(n_rows * stored, n_rows * laid_out, n_fetches)

    @property
    def _stored_row_bytes(self) -> float:
        """The mean bytes of a row, as it is stored."""
        n_bytes: float = self.collection.row_bytes(self.collection.stored_form)
        return n_bytes

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
        edges = [0, n_rows] if together else [0, *find_stops(fetch)]
        bounds = np.array(edges, np.int64)
        read = self.collection.read_batches(
            fetch.rows, fetch.places, bounds, self.form, context
        )
        if together:
            everywhere = np.arange(n_rows, dtype=np.int64)
            return self._cut(self.hooks.transform_fetch(read[0]), fetch, everywhere)
        by_start = dict(zip(bounds[:-1].tolist(), read, strict=True))
        return pend(fetch, lambda start, stop: (by_start[start], None))

    def lay_out(self, read: Any) -> Any:
        """Return cells with X in the layout asked for, and other objects unchanged."""
        cells = self._rebuild_cells(read)
        if not isinstance(cells, Cells):
            return read
        return cells.replace(X=pack(cells["X"], form=self.form))

    def finish(self, pending: PendingBatch) -> Any:
        """Return what the output makes of cells; other objects stay as they are."""
        batch = self.take(pending)
        if pending.sets is None:
            return self._finish(batch, self.batch_size)
        return self._finish_sets(batch, pending.sets, pending.control)

    def _finish(self, batch: Any, n_rows: int, slots: Rows | None = None) -> Any:
        """Return what the output makes of cells, short batches filled to `n_rows`.

        The cells stand at `slots` among the rows; first by default.
        """
        cells, more = batch, {}
        if not isinstance(batch, Cells):
            if isinstance(batch, Mapping) and isinstance(self.output, MatrixLayout):
                more = {name: batch[name] for name in batch if name not in _PARTS}
                batch = {name: batch[name] for name in batch if name in _PARTS}
            cells = self._rebuild_cells(batch)
        if not isinstance(cells, Cells):
            return {**batch, **more} if more else batch
        n_cells, layout = cells.n_cells, self.form.layout
        if widths := self.form.widths:
            cells = cells.replace(X=layout.narrow(cells["X"], widths))
            more = {name: layout.narrow(part, widths) for name, part in more.items()}
        if n_rows > n_cells and layout.fills(cells["X"]):
            order = find_order(slots, n_cells, n_rows)

            def fill(part: Any, n_more: int) -> Any:
                return take(layout.fill(part, n_more), order)

            more = fill_rows(more, n_cells, fill, n_rows - n_cells)
            cells = cells.fill(n_rows, layout.fill).take(order)
        done = self._finish_cells(cells)
        return {**done, **more} if more else done

    def _finish_sets(
        self, batch: Any, sets: BatchSets, control: PendingBatch | None
    ) -> dict[str, Any]:
        """Return a minibatch with the group of each set, and its controls."""
        n_sets = self.batch_size // sets.sizes.set_size
        finished = self._finish(batch, self.batch_size, sets.slots)
        if not isinstance(finished, Mapping):
            raise TypeError(
                "a minibatch of sets is a dict, to which group and control are added,"
                f" and a hook gave a {type(finished).__name__}; change minibatches in"
                " batch_transform"
            )
        groups = sets.groups.copy()
        if self.form.layout.fills(finished.get("X")):
            groups = extend(groups, n_sets - len(groups), -1)
        elif sets.slots is not None:
            raise TypeError(
                'short="keep" fills short sets with empty padded rows, and a hook made'
                " something else of X; do that in batch_transform"
            )
        finished = {**finished, "group": groups}
        if control is not None:
            n_controls = n_sets * sets.sizes.control_size
            finished["control"] = self._finish(self.take(control), n_controls)
        return finished

    def _rebuild_cells(self, batch: Any) -> Any:
        """Return Cells for a plain dict of X, obs and index, which a hook may give."""
        if isinstance(batch, Mapping) and set(batch) == _PARTS:
            return Cells(batch["X"], batch["obs"], batch["index"], self.collection.info)
        return batch


def invert(places: Rows) -> Rows:
    """Return which of the sorted rows stands at each place."""
    positions = np.empty_like(places)
    positions[places] = np.arange(len(places), dtype=places.dtype)
    return positions
