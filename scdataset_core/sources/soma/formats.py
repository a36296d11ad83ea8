"""The formats of TileDB-SOMA: stored experiments, open ones, and queries of these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import Source
from ..format_declaration import Format, comes_from
from ..options import OpenOptions

__all__ = ["SOMA_EXPERIMENTS", "SOMA_FOLDERS", "SOMA_QUERIES"]

# TileDB keeps these in the folder of a group, and of an array.
_SIGNS = ("__tiledb_group.tdb", "__group", "__schema")


def _is_folder(path: str) -> bool:
    """Return whether a folder is a group or an array of TileDB."""
    return any(Path(path, sign).exists() for sign in _SIGNS)


def _is_experiment(obj: object) -> bool:
    """Return whether an object is an open experiment."""
    if not comes_from(obj, "tiledbsoma"):
        return False
    import tiledbsoma

    return isinstance(obj, tiledbsoma.Experiment)


def _is_query(obj: object) -> bool:
    """Return whether an object is a query of an experiment."""
    if not comes_from(obj, "tiledbsoma"):
        return False
    import tiledbsoma

    return isinstance(obj, tiledbsoma.ExperimentAxisQuery)


def _open_folders(paths: Sequence[str], options: OpenOptions) -> Source:
    from .experiments import open_soma

    return open_soma(paths, options)


# Any: objects of a package that is not imported here.
def _open_experiment(experiment: Any, options: OpenOptions) -> Source:
    from .experiments import open_experiment

    return open_experiment(experiment, options)


def _open_query(query: Any, options: OpenOptions) -> Source:
    from .experiments import open_query

    return open_query(query, options)


_OPTIONS = frozenset({"ms"})
SOMA_FOLDERS = Format(
    "a TileDB-SOMA experiment", _is_folder, _open_folders, own_options=_OPTIONS
)
SOMA_EXPERIMENTS = Format(
    "a TileDB-SOMA experiment", _is_experiment, _open_experiment, own_options=_OPTIONS
)
SOMA_QUERIES = Format(
    "a query of a TileDB-SOMA experiment",
    _is_query,
    _open_query,
    own_options=_OPTIONS,
)
