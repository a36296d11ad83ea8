"""TileDB-SOMA experiments: folders, open experiments, and queries of their cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError, ScdatasetError
from ...optional import import_optional
from ...storage.io.open_files import check_plain_inside
from ...storage.isolation import call_isolated, is_child
from ..genes.joins import join_genes
from ..obs.joined_columns import join_obs
from ..options import OpenOptions
from ..rows import Rows
from .locations import find_x, name_column, read_genes
from .obs_columns import JOINID, SomaText, obs_columns, read_joinids
from .soma_source import SomaCells, SomaSource
from .store import RowIds, SomaArray, SomaStore, describe_error, tiledb_context

if TYPE_CHECKING:
    import tiledbsoma

__all__ = [
    "open_experiment",
    "open_query",
    "open_soma",
]

# TileDB takes memory for its answers before it looks for cells, a GiB by default, and
# for each of its threads; the child process has little.
_IN_CHILD = {
    "soma.init_buffer_bytes": 1 << 25,
    "sm.compute_concurrency_level": 2,
    "sm.io_concurrency_level": 2,
}


@dataclass(frozen=True)
class _Wanted:
    """The cells, and the genes of a measurement, that a query gives; None for all."""

    measurement: str | None = None
    cells: Rows | None = None
    genes: Rows | None = None


def open_soma(paths: Sequence[str], options: OpenOptions) -> SomaSource:
    """Return the source over experiments, in their order."""
    _import_tiledbsoma()
    for path in paths:
        check_plain_inside(path)
        if options.isolated:
            call_isolated(_look, path, options.for_one_file(), file=path)
    return _join([_locate_folder(path, options) for path in paths], options)


def _locate_folder(path: str, options: OpenOptions) -> SomaCells:
    """Find the cells of the experiment in a folder."""
    config = _IN_CHILD if options.isolated or is_child() else {}
    experiment = _open_folder(path, config)
    home = None if options.allow_external else experiment.uri
    store = SomaStore(
        path,
        experiment.tiledb_timestamp_ms,
        config,
        home=home,
        isolated=options.isolated,
    )
    found = _locate_cells(experiment, store, options, _Wanted())
    experiment.close()
    return found


def _look(path: str, options: OpenOptions) -> None:
    """Do in the child process what TileDB is then asked for in the one of the user.

    That is what experiments say of themselves; cells are read in the child alone.
    """
    _locate_folder(path, options)


def open_experiment(
    experiment: "tiledbsoma.Experiment", options: OpenOptions
) -> SomaSource:
    """Return the source over an open experiment, as it was when that was opened."""
    _import_tiledbsoma()
    one = _locate_cells(experiment, _store_of(experiment), options, _Wanted())
    return _join([one], options)


def open_query(
    query: "tiledbsoma.ExperimentAxisQuery", options: OpenOptions
) -> SomaSource:
    """Return the source over the cells and genes that a query gives."""
    _import_tiledbsoma()
    experiment = query.experiment
    store = _store_of(experiment)
    if not query.n_obs or not query.n_vars:
        raise FileFormatError(
            f"{store.name}: the query gives {query.n_obs} cells and {query.n_vars}"
            " genes; there is nothing to read"
        )
    wanted = _Wanted(
        query.measurement_name,
        np.unique(query.obs_joinids().to_numpy()),
        np.unique(query.var_joinids().to_numpy()),
    )
    return _join([_locate_cells(experiment, store, options, wanted)], options)


def _locate_cells(
    experiment: Any,  # Any: a tiledbsoma.Experiment
    store: SomaStore,
    options: OpenOptions,
    wanted: _Wanted,
) -> SomaCells:
    """Find the cells of an experiment; errors name the experiment."""
    try:
        return _find_cells(experiment, store, options, wanted)
    except (ScdatasetError, MemoryError):
        raise
    except Exception as error:  # tiledbsoma raises what TileDB does
        raise FileFormatError(
            f"{store.name} cannot be read: {describe_error(error)}; if it was not"
            " copied whole, copy or download it again"
        ) from error


def _find_cells(
    experiment: Any,  # Any: a tiledbsoma.Experiment
    store: SomaStore,
    options: OpenOptions,
    wanted: _Wanted,
) -> SomaCells:
    if "obs" not in experiment:
        raise FileFormatError(f"{store.name} has no obs, the table of its cells")
    table = SomaArray.of(store, experiment.obs.uri, "obs")
    every = read_joinids(table)
    ids = RowIds.of(every if wanted.cells is None else wanted.cells)
    if ids.n == 0:
        raise FileFormatError(f"{store.name}: obs has no cells")
    found = find_x(experiment, store, options.x, wanted.measurement)
    is_same = found.measurement == wanted.measurement
    genes = read_genes(found, wanted.genes if is_same else None)
    x = found.x(ids, genes, n_cells=len(every))
    known = table.handle.schema.names
    named = name_column(table)
    usable = [name for name in known if name not in (JOINID, named)]
    asked = usable if options.obs is True else options.obs
    columns = obs_columns(table, ids, asked, known)
    names = None
    if options.obs_names:
        if named is None:
            raise FileFormatError(
                f"{store.name}: obs has no column that names cells, and obs_names asks"
                " for them; leave it out"
            )
        names = SomaText.of(table, ids, named)
    notices = (*table.notices, *x.array.notices)
    return SomaCells(store.name, x, genes.names, columns, names, notices)


def _join(found: Sequence[SomaCells], options: OpenOptions) -> SomaSource:
    files = [one.file for one in found]
    names = [one.var_names for one in found]
    genes = join_genes(files, names, options.join, options.genes)
    obs = join_obs(files, [one.obs for one in found], options.obs, options.categories)
    return SomaSource(found, genes, obs)


def _open_folder(path: str, config: Mapping[str, Any]) -> Any:
    """Open an experiment; errors name it. Any: a tiledbsoma.Experiment."""
    import tiledbsoma

    uri = str(Path(path).absolute())
    try:
        found = tiledbsoma.open(uri, context=tiledb_context(config))
    except Exception as error:  # tiledbsoma raises what TileDB does
        raise FileFormatError(
            f"{path}: tiledbsoma cannot open it: {describe_error(error)}; if it was not"
            " copied whole, copy or download it again"
        ) from error
    if not isinstance(found, tiledbsoma.Experiment):
        raise FileFormatError(
            f"{path} is a {found.soma_type}, expected a SOMAExperiment; open the"
            " folder of the experiment that holds it"
        )
    return found


def _store_of(experiment: Any) -> SomaStore:  # Any: a tiledbsoma.Experiment
    """Return the store of an open experiment, at the time of that."""
    if experiment.closed or experiment.mode != "r":
        state = "closed" if experiment.closed else "open for writing"
        raise FileFormatError(
            f"{experiment.uri}: the experiment is {state}; open it for reading:"
            " tiledbsoma.open(uri)"
        )
    return SomaStore(
        experiment.uri.removeprefix("file://"),
        experiment.tiledb_timestamp_ms,
        experiment.context.tiledb_config,
    )


def _import_tiledbsoma() -> None:
    import_optional("tiledbsoma", extra="soma", needed_by="TileDB-SOMA experiments")
