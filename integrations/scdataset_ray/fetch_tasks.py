"""Read a Loader's epoch in Ray Data: each fetch is a read task."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from scdataset_core import Loader, Source, merge_states
from scdataset_core.adapters import check_loader, check_undivided
from scdataset_core.dealing import Dealing, union
from scdataset_core.state import State

from .tables import make_table

__all__ = ["FetchDatasource", "datasource"]

_KEPT_LOADERS = 2  # in each process of Ray: one that is read, one that comes next


def datasource(loader: Loader) -> "FetchDatasource":
    """Return the next epoch of a Loader as a data source of Ray Data.

    ``ray.data.read_datasource(datasource(loader))`` is a data set whose rows are the
    cells of the epoch, each exactly once, up to what `drop_last` leaves out. One read
    task reads one fetch. Its rows come in the order of the fetch's minibatches. Ray
    Data gives fetches in the order in which they are ready, unless
    ``ray.data.DataContext.get_current().execution_options.preserve_order`` is True: all
    rows then come in the order of the Loader.

    Columns are ``index`` (int64 row numbers), the obs columns under their own names,
    and those of X. CSR: ``indices`` and ``data``, lists of as many as a cell stores.
    Dense: ``X``, a tensor of fixed size. Padded: ``indices`` and ``values`` of fixed
    size, and ``length``; filled rows are left out. Where X is several arrays, each
    column has the name of its array before it: ``obsm/X_pca``, ``X/indices``.

    Parameters
    ----------
    loader
        A Loader of all ranks over a source. If a merged state is loaded in it, the data
        set is the rest of the state's epoch. Hooks are run in the read tasks. Each of
        these reads with one thread, since Ray runs a task on each core, unless the
        Loader was given `threads`.

    Raises
    ------
    TypeError
        If `loader` is not a Loader, or not one over what ``scdataset_core.open``
        returns, or its batches are AnnData objects.
    ValueError
        If `loader` yields the share of one rank only, its batches are sets of cells or
        of several widths, or an obs column has the name of another column.
    """
    return FetchDatasource(loader)


class FetchDatasource(Datasource):  # type: ignore[misc]  # Ray is untyped here
    """The fetches of an epoch, each of which is a read task of Ray Data.

    Made by :func:`datasource`, which says what it holds.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        _check(loader)
        self._state = _find_start(loader)
        _check_width(self._state)
        self._loader = loader.fresh(self._state["epoch"])
        self._loader.read_ahead = 0  # Ray has several tasks at a time
        if self._loader.threads is None:
            self._loader.threads = 1
        self._token = uuid4().hex
        self.schema = self._find_schema()

    def get_name(self) -> str:
        """Return the name that Ray Data shows."""
        return "Cells"

    def estimate_inmemory_data_size(self) -> int:
        """Return about how many bytes all rows take in memory."""
        dealing = self._dealing()
        rows = sum(dealing.count_rows(*some) for some in dealing.left().tolist())
        return rows * self._row_bytes()

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: object = None,
    ) -> list[ReadTask]:
        """Return a task for each fetch of which something is left.

        Parameters
        ----------
        parallelism
            How many tasks Ray proposes; there is one a fetch whatever it is.
        per_task_row_limit
            Most rows that a task yields.
        data_context
            The settings of Ray Data, of which none matters here.
        """
        # Tasks share one copy of the loader, where there is a cluster to keep it.
        shared = ray.put(self._loader) if ray.is_initialized() else self._loader
        dealing, row_bytes = self._dealing(), self._row_bytes()
        tasks = []
        for number, left in _fetches_left(dealing, self._loader.fetch_factor):
            n_rows = sum(dealing.count_rows(first, stop) for first, stop in left)
            metadata = BlockMetadata(
                num_rows=None if self.schema is None else n_rows,
                size_bytes=n_rows * row_bytes,
                input_files=None,
                exec_stats=None,
            )
            tasks.append(
                ReadTask(
                    partial(_read, shared, self._token, self._state, number),
                    metadata,
                    schema=self.schema,
                    per_task_row_limit=per_task_row_limit,
                )
            )
        return tasks

    def _dealing(self) -> Dealing:
        return State.from_dict(self._state).dealing()

    def _row_bytes(self) -> int:
        source = self._loader.source
        n_columns = 1 + len(source.obs_columns)
        return int(source.row_bytes(source.stored_form)) + 8 * n_columns

    def _find_schema(self) -> pa.Schema | None:
        """Return the columns and their types; None where hooks may change them."""
        loader = self._loader
        if _has_hooks(loader) or not len(loader):
            return None
        probe = loader.fresh()
        # Of the fetch, only the rows of the one minibatch that is left are read.
        probe.load_state_dict({**self._state, "done": [[1, len(loader)]]})
        return make_table(next(iter(probe))).schema


def _fetches_left(
    dealing: Dealing, fetch_factor: int
) -> Iterable[tuple[int, list[tuple[int, int]]]]:
    """Return the fetches that are left, with the ranges of minibatches left of each."""
    left: dict[int, list[tuple[int, int]]] = {}
    for first, stop in dealing.left().tolist():
        for fetch in range(first // fetch_factor, -(-stop // fetch_factor)):
            begin, end = fetch * fetch_factor, (fetch + 1) * fetch_factor
            left.setdefault(fetch, []).append((max(first, begin), min(stop, end)))
    return left.items()


# Loaders that tasks of this process read with: opening files again for every fetch
# would read their tables of chunks again.
_loaders: "OrderedDict[str, Loader]" = OrderedDict()


def _read(
    shared: Any, token: str, state: dict[str, Any], number: int
) -> Iterable[pa.Table]:
    """Return the rows of the minibatches of a fetch that a state leaves."""
    loader = _loaders.get(token)
    if loader is None:
        loader = shared if isinstance(shared, Loader) else ray.get(shared)
        _loaders[token] = loader
        while len(_loaders) > _KEPT_LOADERS:
            _loaders.popitem(last=False)
    first = number * loader.fetch_factor
    n_batches = State.from_dict(state).dealing().n_batches
    others = [[0, first], [min(first + loader.fetch_factor, n_batches), n_batches]]
    own = loader.fresh()
    own.load_state_dict({**state, "done": union([*state["done"], *others]).tolist()})
    return [pa.concat_tables([make_table(batch) for batch in own])]


def _check(loader: Loader) -> None:
    check_loader(loader)
    check_undivided(
        loader,
        "give one of all ranks; Ray Data divides the rows, as with"
        " dataset.streaming_split(n)",
    )
    if not isinstance(loader.source, Source):
        raise TypeError(
            "rows of a data set have named columns, and this Loader is over"
            f" {type(loader.source).__name__}; give one over"
            " scdataset_core.open(...), which takes objects too"
        )
    if getattr(loader.strategy, "set_sizes", None) is not None:
        raise ValueError(
            f"a minibatch of {type(loader.strategy).__name__} is made of sets of cells,"
            " which rows of a data set would lose; iterate shard(loader) in the workers"
            " of Ray Train"
        )


def _check_width(state: Mapping[str, Any]) -> None:
    """Raise where the rows of minibatches differ in width."""
    widths = state["strategy"].get("widths")
    if widths:
        raise ValueError(
            "columns of a data set have one width, and the padded rows of this Loader"
            f" have one of {widths}; give width= a single number"
        )


def _has_hooks(loader: Loader) -> bool:
    return any(hook is not None for hook in vars(loader.hooks).values())


def _find_start(loader: Loader) -> dict[str, Any]:
    """Return the merged state at which the next iteration of a loader begins."""
    state = merge_states([loader.state_dict()])
    if state["epoch"] != loader.next_epoch:
        state = merge_states([loader.fresh(loader.next_epoch).state_dict()])
    return state
