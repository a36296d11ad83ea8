"""Labels of the cells of a source: arrays that a user gives, or obs columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import count_rows, digest
from .errors import MissingNameError, nearest
from .labels import Classes, Coded, check_labels, code_labels, join_classes

__all__ = ["CellLabels", "find_cells", "read_labels"]


class CellLabels:
    """One or several labels of each cell, which together say its class.

    Parameters
    ----------
    given
        The name of an obs column, or a list of these; or an array with the label of
        each cell, or a list of these; or a mapping from names to columns and arrays. A
        list of strings is labels if one comes twice, else it is columns.
    name
        Name of the argument; arrays are called by it, and by their position where there
        are several.

    Raises
    ------
    ValueError
        If an array is not 1-D or is empty, or arrays are not of one length.
    TypeError
        If there is a column that is neither a name nor an array.
    """

    def __init__(self, given: Any, name: str) -> None:
        self.columns = _parse(given, name)
        self._name = name
        self._read: tuple[Any, Classes, list[Coded]] | None = None
        arrays = {k: v for k, v in self.columns.items() if not isinstance(v, str)}
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) > 1:
            raise ValueError(
                f"the labels of {name} must be of the same cells, got"
                f" {' and '.join(str(length) for length in sorted(lengths))}"
            )
        self.length = lengths.pop() if lengths else None

    @property
    def from_source(self) -> bool:
        """Whether some labels are obs columns, so that there is one for each row."""
        return any(isinstance(column, str) for column in self.columns.values())

    def read(self, source: Any) -> tuple[Classes, list[Coded]]:
        """Return the class of each cell, and the labels of each column; kept.

        Parameters
        ----------
        source
            A Source; any object with rows where no obs column is named.

        Raises
        ------
        TypeError
            If a column is named and `source` has none.
        MissingNameError
            If the source has no such column.
        """
        kept = self._read  # another thread may replace it
        if kept is None or (self.from_source and kept[0] is not source):
            coded = [read_labels(source, *item) for item in self.columns.items()]
            lengths = {len(part.codes) for part in coded}
            if len(lengths) > 1:
                raise ValueError(
                    f"the labels of {self._name} must be of the same cells, got"
                    f" {' and '.join(str(length) for length in sorted(lengths))}"
                )
            classes = join_classes(
                [part.codes for part in coded], [len(part.labels) for part in coded]
            )
            self._read = kept = source, classes, coded
        return kept[1], kept[2]

    def sort(self, order: npt.NDArray[np.int64]) -> None:
        """Put the arrays in another order, as the cells that they are of were put."""
        self.columns = {
            name: column if isinstance(column, str) else _freeze(column[order])
            for name, column in self.columns.items()
        }

    def describe(self, source: Any) -> dict[str, str]:
        """Return the name of each column, and a digest of its labels."""
        _, coded = self.read(source)
        return {
            name: digest(part.codes)
            for name, part in zip(self.columns, coded, strict=True)
        }

    def __repr__(self) -> str:
        shown = [
            repr(column) if isinstance(column, str) else f"<{len(column):,} labels>"
            for column in self.columns.values()
        ]
        return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_read": None}


def _parse(given: Any, name: str) -> dict[str, str | npt.NDArray[Any]]:
    """Return by name the columns and arrays that an argument gives."""
    if isinstance(given, str):
        return {given: given}
    if isinstance(given, Mapping):
        return {str(key): _check(part, str(key)) for key, part in given.items()}
    if not isinstance(given, list | tuple) or not _are_columns(given):
        return {name: _check(given, name)}
    keys = [
        part if isinstance(part, str) else f"{name}{i}" for i, part in enumerate(given)
    ]
    return {key: _check(part, key) for key, part in zip(keys, given, strict=True)}


def _are_columns(given: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list is of columns; else it is one column, a label for each cell."""
    if not given or not all(isinstance(p, str) or np.ndim(p) == 1 for p in given):
        return False
    names = [part for part in given if isinstance(part, str)]
    return len(set(names)) == len(names)


def _check(given: Any, name: str) -> str | npt.NDArray[Any]:
    if isinstance(given, str):
        return given
    if given is None:
        raise TypeError(
            f"{name} must name an obs column, or be an array with the label of each"
            " cell, got None"
        )
    # A copy, because the user may change the array.
    return _freeze(check_labels(given, name).copy())


def _freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def read_labels(source: Any, name: str, given: str | npt.NDArray[Any]) -> Coded:
    """Return the labels of cells as codes, in the source's vocabulary if it has one.

    Parameters
    ----------
    source
        What the cells are of. Any: a Source; any object where an array is given.
    name
        Name of the labels, for errors.
    given
        An obs column, or the labels themselves.

    Raises
    ------
    TypeError
        If a column is named and `source` has no obs columns.
    MissingNameError
        If the source has no such column.
    """
    if not isinstance(given, str):
        return code_labels(given, name)
    if not hasattr(source, "categories"):
        raise TypeError(
            f'"{given}" names an obs column, and a {type(source).__name__} has none;'
            " give an array with the label of each cell"
        )
    values = source.obs[given]
    labels = source.categories.get(given)
    if labels is None:
        return code_labels(values, f'obs column "{given}"')
    return Coded(values, np.array(labels, object))


def find_cells(source: Any, wanted: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return which cells have certain labels in all of some obs columns.

    Parameters
    ----------
    source
        The source.
    wanted
        By column the label, or a list of labels.

    Raises
    ------
    MissingNameError
        If there is no such column, or no such label in it.
    """
    found = np.ones(count_rows(source), bool)
    for column, given in wanted.items():
        coded = read_labels(source, column, column)
        known = {label: code for code, label in enumerate(coded.labels.tolist())}
        labels = given if isinstance(given, list | tuple | set) else [given]
        for label in labels:
            if label not in known:
                raise MissingNameError(
                    f'obs column "{column}" has no label {label!r};'
                    f" {nearest(label, map(str, known))}"
                )
        found &= np.isin(coded.codes, [known[label] for label in labels])
    return found
