"""The options of :func:`scdataset_core.open`, checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..storage.cache import Cache
from ..storage.remote.object_store import ObjectStore

__all__ = ["Genes", "Join", "OpenOptions", "is_matrix_name"]

Join = Literal["exact", "inner", "outer"]
Genes = Sequence[str] | Sequence[int] | npt.NDArray[Any]

_X_FOLDERS = ("layers", "obsm", "ms")


@dataclass(frozen=True)
class OpenOptions:
    """The options of :func:`scdataset_core.open`; invalid ones cannot be made.

    Parameters
    ----------
    obs
        Names of the obs columns to carry, or True for all.
    x
        ``"X"``, ``"raw/X"``, ``"layers/NAME"`` or ``"obsm/NAME"``; with TileDB-SOMA
        also ``"ms/MEASUREMENT/..."``.
    join
        How the genes of several files are joined.
    genes
        Names or positions of the genes to keep, in the order wanted; None keeps all.
    categories
        A saved vocabulary: the labels of each column, in the order of their codes.
    allow_external
        Whether to follow links and virtual data sets into other files.
    obs_names
        Whether to carry the names of the cells.
    vocabulary
        The name of each gene id of a table: by id, or in the order of ids from 0.
    columns
        The columns of a table that hold X: one of dense rows, two of gene ids and
        values, or three of cell, gene and value; None: those with well-known names.
    cache
        Where decoded chunks are kept.
    store
        The store that paths which are URLs lie in; None: all are local files.
    isolated
        Whether HDF5 reads files in a child process alone.
    storage_options
        How the stores of URLs that an index names are reached.
    """

    obs: tuple[str, ...] | Literal[True] = ()
    x: str = "X"
    join: Join = "exact"
    genes: Genes | None = None
    categories: Mapping[str, Sequence[Any]] | None = None  # Any: str, int, float, bool
    allow_external: bool = False
    obs_names: bool = False
    vocabulary: Mapping[int, str] | Sequence[str] | None = None
    columns: tuple[str, ...] | None = None
    cache: Cache | None = None
    store: ObjectStore | None = None
    isolated: bool = False
    # Any: what obstore takes; it may be secret.
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.join not in ("exact", "inner", "outer"):
            raise ValueError(
                f'join must be "exact", "inner" or "outer", got {self.join!r}'
            )
        if self.isolated and self.store is not None:
            raise ValueError(
                "isolated=True goes with local files, and these are URLs; leave it out,"
                " or fetch the files first"
            )
        if not is_matrix_name(self.x):
            raise ValueError(
                f'x must be "X", "raw/X", "layers/NAME" or "obsm/NAME", got {self.x!r}'
            )
        if self.genes is not None:
            check_genes(self.genes)
        if self.categories is not None:
            _check_categories(self.categories)
        if self.columns is not None and len(set(self.columns)) not in (1, 2, 3):
            raise ValueError(
                "columns must be one (dense rows), two (gene ids, values) or three"
                f" (cell, gene, value) names, got {list(self.columns)}"
            )

    def for_one_file(self) -> "OpenOptions":
        """Return what one file is asked for: not how it is joined with others."""
        return OpenOptions(
            obs=self.obs,
            x=self.x,
            allow_external=self.allow_external,
            obs_names=self.obs_names,
        )

    @classmethod
    def of(
        cls, obs: bool | str | Sequence[str] | None, **rest: Any
    ) -> "OpenOptions":  # Any: the other fields, checked above
        """Return options with `obs` given in any of the ways :func:`open` takes it."""
        columns = rest.get("columns")
        if columns is not None:
            rest["columns"] = _names_of("columns", columns)
        if rest.get("cache") is not None:
            rest["cache"] = Cache.of(rest["cache"])
        if obs is True:
            return cls(obs=True, **rest)
        if obs is None or obs is False:
            return cls(**rest)
        names = _names_of("obs", obs)
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(
                f"obs names a column twice: {', '.join(twice)}; name each once, in"
                " any order"
            )
        return cls(obs=names, **rest)

    def store_of(self, path: str) -> ObjectStore | None:
        """Return the store that a path lies in; None: it is of a local file."""
        if self.store is None or not self.store.holds(path):
            return None
        return self.store


def _names_of(option: str, given: Any) -> tuple[str, ...]:
    """Return the names of columns that an option gives: one, or several."""
    if isinstance(given, str):
        return (given,)
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    for name in names:
        if not isinstance(name, str):
            or_true = " or True" if option == "obs" else ""
            raise TypeError(f"{option} must be names of columns{or_true}, got {name!r}")
    return names


def _check_categories(categories: Any) -> None:
    """Check that `categories` give a list of different labels for each column."""
    if not isinstance(categories, Mapping):
        raise TypeError(
            'categories must be the labels of each column, as {"line": ["A", "B"]}, got'
            f" {categories!r}"
        )
    for column, labels in categories.items():
        try:
            right = not isinstance(labels, str) and len(set(labels)) == len(labels)
        except TypeError:  # no list, or one of lists
            right = False
        if not right:
            raise ValueError(
                f'categories["{column}"] must be a list of different labels,'
                f" got {str(labels)[:80]}"
            )


def is_matrix_name(x: object) -> bool:
    """Return whether `x` is of a form that names a matrix."""
    folder, _, name = str(x).partition("/")
    return x in ("X", "raw/X") or (folder in _X_FOLDERS and bool(name))


def check_genes(genes: Genes) -> None:
    """Check that `genes` are names or positions, at least one, none twice."""
    if isinstance(genes, str):
        raise TypeError(f"genes must be a list of names or positions, got {genes!r}")
    wanted = np.asarray(genes)
    if wanted.ndim != 1 or len(wanted) == 0 or wanted.dtype.kind not in "iuUOT":
        mask = wanted.ndim == 1 and wanted.dtype.kind == "b"
        raise ValueError(
            "genes must be a list of names or integer positions, at least one,"
            f" got {wanted.dtype} of shape {wanted.shape}"
            + ("; give np.flatnonzero(mask)" if mask else "")
        )
    unique, counts = np.unique(wanted.astype(str), return_counts=True)
    if len(unique) != len(wanted):
        twice = ", ".join(unique[counts > 1][:5])
        raise ValueError(f"genes must not repeat, got twice: {twice}")
