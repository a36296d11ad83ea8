"""Cells in memory: rows of a source with their labels and row numbers."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .anndata_maker import AnnDataMaker
from .info import CellInfo

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CellInfo", "Cells", "extend", "take"]

FILLER_ROW = -1


class Cells(Mapping[str, Any]):
    """Rows of a source in memory, with the keys of a batch.

    A mapping: ``cells["X"]`` is a CSR array, a dense array ``(n_cells, n_vars)`` or
    padded rows, or a dict of several of them by name; ``cells["obs"]`` a dict of arrays
    ``(n_cells,)``; ``cells["index"]`` the global row numbers, int64.

    Parameters
    ----------
    x
        The values.
    obs
        Columns of obs: int32 codes of labels (-1 is missing) or numbers.
    index
        Global row numbers.
    info
        Gene names and label vocabularies of the source.
    names
        Names of the cells, where they were asked for.
    """

    def __init__(
        self,
        x: Any,  # Any: CSR array, ndarray, or the dict of padded rows
        obs: dict[str, npt.NDArray[Any]],
        index: npt.NDArray[np.int64],
        info: CellInfo,
        names: npt.NDArray[np.object_] | None = None,
    ) -> None:
        self._parts: dict[str, Any] = {"X": x, "obs": obs, "index": index}
        self.info = info
        self.names = names

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return len(self._parts["index"])

    def __getitem__(self, key: str) -> Any:
        return self._parts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        x = self._parts["X"]
        form = type(x).__name__
        if isinstance(x, dict):
            form = ", ".join(self.info.parts) or "padded"
        obs = ", ".join(self._parts["obs"]) or "none"
        n_vars = len(self.info.var_names)
        return f"Cells({self.n_cells} x {n_vars}, X: {form}, obs: {obs})"

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of X, obs and index, which a batch is."""
        return dict(self._parts)

    def replace(self, **parts: Any) -> "Cells":
        """Return cells with some of ``X``, ``obs``, ``index`` replaced.

        Examples
        --------
        A transform that serves a fetch and a batch alike:

        >>> def halve(cells):
        ...     return {**cells, "X": cells["X"] / 2}
        """
        new = {**self._parts, **parts}
        return Cells(new["X"], new["obs"], new["index"], self.info, self.names)

    def copy(self) -> "Cells":
        """Return the same cells in memory of their own."""
        return Cells(
            _copy_x(self._parts["X"]),
            {name: values.copy() for name, values in self._parts["obs"].items()},
            self._parts["index"].copy(),
            self.info,
            None if self.names is None else self.names.copy(),
        )

    def take(self, positions: npt.NDArray[np.integer[Any]]) -> "Cells":
        """Return the cells at `positions`, shape ``(k,)``, copied."""
        return Cells(
            take(self._parts["X"], positions),
            take(self._parts["obs"], positions),
            self._parts["index"][positions],
            self.info,
            None if self.names is None else self.names[positions],
        )

    def fill(self, n_cells: int, fill_x: Callable[[Any, int], Any]) -> "Cells":
        """Return these cells with empty ones after them, `n_cells` in all.

        An empty cell has the index -1; its codes are -1, its other labels NaN where
        they are floats, else 0 or False.

        Parameters
        ----------
        n_cells
            How many cells are wanted.
        fill_x
            Gives X with a number of empty rows after it, as an output does.
        """
        missing = n_cells - self.n_cells
        if missing <= 0:
            return self
        obs = {
            name: extend(values, missing, self._obs_filler(name, values))
            for name, values in self._parts["obs"].items()
        }
        x = fill_x(self._parts["X"], missing)
        index = extend(self._parts["index"], missing, FILLER_ROW)
        names = None if self.names is None else extend(self.names, missing, "")
        return Cells(x, obs, index, self.info, names)

    def _obs_filler(self, name: str, values: npt.NDArray[Any]) -> Any:
        if name in self.info.categories:
            return -1
        return np.nan if values.dtype.kind == "f" else 0

    def to_anndata(self, maker: AnnDataMaker | None = None) -> "AnnData":
        """Return an `AnnData` of these cells, labels decoded to categoricals.

        The names of the cells are their own where the source was opened with
        ``obs_names=True``, else their row numbers. Of several arrays the first is X;
        ``layers/NAME`` of the same genes is a layer, and all others are in `obsm`.

        Parameters
        ----------
        maker
            Keeps what the objects share from one call to the next; by default a new
            maker is used.
        """
        if maker is None:
            maker = AnnDataMaker(self.info)
        index = self._parts["index"]
        names = index.astype(str) if self.names is None else self.names
        return maker.make(self._parts["X"], self._parts["obs"], names)


def take(data: Any, positions: npt.NDArray[np.integer[Any]]) -> Any:
    """Return ``data[positions]``, entry by entry where `data` is a mapping or list."""
    if isinstance(data, Cells):
        return data.take(positions)
    if isinstance(data, list):
        return [data[position] for position in positions]
    if isinstance(data, Mapping):
        return {name: take(part, positions) for name, part in data.items()}
    return data[positions]


def _copy_x(x: Any) -> Any:
    """Return X in memory of its own; where X is several arrays, copy each."""
    if isinstance(x, Mapping):
        return {name: _copy_x(part) for name, part in x.items()}
    if isinstance(x, np.ndarray):
        return x.copy()
    own = copy.copy(x)  # SciPy's own copy may choose other types for the indices
    own.data, own.indices, own.indptr = x.data.copy(), x.indices.copy(), x.indptr.copy()
    return own


def extend(values: npt.NDArray[Any], missing: int, filler: Any) -> npt.NDArray[Any]:
    """Return `values` with `missing` more along the first axis, which are `filler`."""
    tail = np.full((missing, *values.shape[1:]), filler, values.dtype)
    return np.concatenate([values, tail])
