"""Labels of the cells of a source: arrays that a user gives, or obs columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import digest
from .labels import Classes, Coded, check_labels, code_labels, join_classes

__all__ = ["CellLabels", "read_columns"]


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
        self._codes: tuple[Any, npt.NDArray[Any]] | None = None
        arrays = {k: v for k, v in self.columns.items() if not isinstance(v, str)}
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) > 1:
            raise ValueError(
                f"the labels of {name} must be of the same cells, got"
                f" {' and '.join(str(length) for length in sorted(lengths))}"
            )
        self.length = lengths.pop() if lengths else None

    @property
    def obs_columns(self) -> list[str]:
        """The obs columns among the labels; of these there is one for each row."""
        return [column for column in self.columns.values() if isinstance(column, str)]

    def read(self, source: Any) -> tuple[Classes, list[npt.NDArray[Any]]]:
        """Return the class of each cell, and the label of each code of each column.

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
        ValueError
            If the columns are not of the same cells.
        """
        coded = self._read(source)
        classes = join_classes(
            [part.codes for part in coded], [len(part.labels) for part in coded]
        )
        return classes, [part.labels for part in coded]

    def _read(self, source: Any) -> list[Coded]:
        """Return the labels of each column as codes."""
        read = iter(read_columns(source, self.obs_columns))
        coded = [
            next(read) if isinstance(column, str) else code_labels(column, name)
            for name, column in self.columns.items()
        ]
        lengths = {len(part.codes) for part in coded}
        if len(lengths) > 1:
            raise ValueError(
                f"the labels of {self._name} must be of the same cells, got"
                f" {' and '.join(str(length) for length in sorted(lengths))}"
            )
        return coded

    def codes(self, source: Any) -> npt.NDArray[Any]:
        """Return the class of each cell, where a missing label is one too, the last.

        They are kept for the latest source, in the narrowest type, and pickled: a
        worker cannot read columns of an object in memory that the source does not
        carry.
        """
        kept = self._codes  # another thread may replace it
        if kept is None or (self.obs_columns and kept[0] is not source):
            coded = [(part.codes, len(part.labels)) for part in self._read(source)]
            classes = join_classes(
                [np.where(part < 0, np.int32(size), part) for part, size in coded],
                [size + 1 for _, size in coded],
            )
            codes = classes.codes.astype(_find_narrowest(len(classes.parts)))
            self._codes = kept = source if self.obs_columns else None, codes
        return kept[1]

    def sort(self, order: npt.NDArray[np.int64]) -> None:
        """Put the arrays in another order, as the cells that they are of were put."""
        self.columns = {
            name: column if isinstance(column, str) else _freeze(column[order])
            for name, column in self.columns.items()
        }

    def describe(self, source: Any) -> dict[str, Any]:
        """Return the names of the columns, and a digest of the classes of the cells."""
        return {"columns": list(self.columns), "codes": digest(self.codes(source))}

    def __repr__(self) -> str:
        shown = [
            repr(column) if isinstance(column, str) else f"<{len(column):,} labels>"
            for column in self.columns.values()
        ]
        return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


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


def _find_narrowest(n_codes: int) -> npt.DTypeLike:
    """Return the narrowest signed type that holds -1 and `n_codes` codes."""
    kinds = (np.int8, np.int16, np.int32)
    return next(kind for kind in kinds if n_codes <= np.iinfo(kind).max)


def _freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def read_columns(source: Any, names: Sequence[str]) -> list[Coded]:
    """Return the labels of obs columns as codes, also of columns not opened with.

    The codes are those of the source's vocabulary, if it has one for the column.

    Parameters
    ----------
    source
        The source. Any: a Source, a room above this one.
    names
        The columns.

    Raises
    ------
    TypeError
        If `source` has no obs columns.
    MissingNameError
        If the source has no such column.
    """
    if not names:
        return []
    if not hasattr(source, "find_columns"):
        raise TypeError(
            f'"{names[0]}" names an obs column, and a {type(source).__name__} has none;'
            " give an array with the label of each cell"
        )
    found = source.find_columns(names)
    coded = []
    for name in names:
        column = found[name]
        values = np.concatenate(list(column.windows(len(source))))
        if column.labels is None:
            coded.append(code_labels(values, f'obs column "{name}"'))
        else:
            coded.append(Coded(values, np.array(column.labels, object)))
    return coded
