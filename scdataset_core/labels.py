"""Labels of cells: a code for each, which are missing, and the classes they make."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Classes",
    "Coded",
    "check_labels",
    "code_labels",
    "count_classes",
    "find_missing",
    "is_missing",
    "join_classes",
    "leave_out",
]

_SMALL_RANGE = 1 << 16  # a table of as many counts is small whatever the labels
_PIECE = 1 << 20  # labels that are looked at at a time


class Coded(NamedTuple):
    """Labels as codes.

    Parameters
    ----------
    codes
        The code of each cell, int32, shape ``(n,)``; -1 is missing.
    labels
        The label of each code, sorted.
    """

    codes: npt.NDArray[np.int32]
    labels: npt.NDArray[Any]


class Classes(NamedTuple):
    """The combinations of labels that some cell has.

    Parameters
    ----------
    codes
        The class of each cell, int32, shape ``(n,)``; -1 where a label is missing.
    parts
        For each class the code of each of its labels, shape ``(n_classes, n_parts)``;
        sorted by the first, then by the second, and so on.
    """

    codes: npt.NDArray[np.int32]
    parts: npt.NDArray[np.int32]


def check_labels(labels: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return labels as an array.

    Raises
    ------
    ValueError
        If they are not 1-D, or there are none.
    """
    try:
        array = np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{name} must be 1-D: {error}") from error
    if array.ndim == 0 and array.dtype.kind in "US":
        raise ValueError(
            f"{name} must be an array with the label of each cell, got {labels!r}; for"
            f" an obs column give source.obs[{labels!r}]"
        )
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} must be 1-D and not empty, got shape {array.shape}")
    return array


def find_missing(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which labels are missing: NaN, None, NaT, and -1 in signed integers."""
    kind = labels.dtype.kind
    if kind == "f":
        return np.asarray(np.isnan(labels))
    if kind == "i":
        return np.asarray(labels == -1)
    if kind in "mM":
        return np.asarray(np.isnat(labels))
    if kind == "O":
        return np.array([is_missing(label) for label in labels], bool)
    return np.zeros(len(labels), bool)


def is_missing(label: object) -> bool:
    """Return whether a value stands for none: None, NaN, NaT or pandas' NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA has no truth value
        return True


def code_labels(labels: npt.ArrayLike, name: str) -> Coded:
    """Return labels as codes, in the order of the sorted labels.

    Parameters
    ----------
    labels
        The label of each cell: codes, numbers, booleans or strings, shape ``(n,)``.
        NaN, None, NaT, and -1 in signed integers, are missing.
    name
        Name of the argument, for errors.

    Raises
    ------
    ValueError
        If they are not 1-D, there are none, or they cannot be compared with each other.

    Examples
    --------
    >>> codes, labels = code_labels(["b", None, "a", "b"], "labels")
    >>> codes.tolist(), labels.tolist()
    ([1, -1, 0, 1], ['a', 'b'])
    """
    array = check_labels(labels, name)
    missing = find_missing(array)
    present = array[~missing] if missing.any() else array
    if len(present) and array.dtype.kind in "iub":
        low, high = int(present.min()), int(present.max())
        if high < 1 << 62 and high - low < max(len(array), _SMALL_RANGE):
            keys = np.where(missing, -1, array.astype(np.int64) - low)
            codes, used = _number_used(keys, high - low + 1)
            return Coded(codes, (used + low).astype(array.dtype))
    try:
        values, found = np.unique(present, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in present.tolist()})
        raise ValueError(
            f"{name} must be all numbers or all strings, got {' and '.join(kinds)}"
        ) from error
    return Coded(_spread(found.reshape(-1), missing), values)


def count_classes(
    labels: npt.NDArray[Any], name: str
) -> tuple[npt.NDArray[np.unsignedinteger[Any]], npt.NDArray[np.int64]]:
    """Return the class of each cell in a narrow type, and how many cells each has.

    Classes are numbered as :func:`code_labels` numbers them. Integers of a small range
    are looked at by pieces, so that nothing as long as they are is made but the codes.

    Parameters
    ----------
    labels
        The label of each cell, shape ``(n,)``.
    name
        Name of the argument, for errors.

    Returns
    -------
    codes
        Unsigned, shape ``(n,)``; a cell without a label has the number of classes.
    counts
        Shape ``(n_classes,)``.

    Examples
    --------
    >>> codes, counts = count_classes(np.array([7, 5, -1, 7]), "labels")
    >>> codes.tolist(), counts.tolist()
    ([1, 0, 2, 1], [1, 2])
    """
    n = len(labels)
    if labels.dtype.kind not in "iub":
        return _count_coded(code_labels(labels, name))
    low, high = int(labels.min()), int(labels.max())
    if high >= 1 << 62 or high - low >= max(n // 8, _SMALL_RANGE):
        return _count_coded(code_labels(labels, name))
    pieces = [slice(i, i + _PIECE) for i in range(0, n, _PIECE)]
    counts = np.zeros(high - low + 1, np.int64)
    for piece in pieces:
        keys = labels[piece].astype(np.int64) - low
        counts += np.bincount(keys, minlength=len(counts))
    if labels.dtype.kind == "i" and low <= -1 <= high:
        counts[-1 - low] = 0  # these labels are missing
    used = np.flatnonzero(counts)
    numbers = np.full(len(counts), len(used), np.min_scalar_type(len(used)))
    numbers[used] = np.arange(len(used))
    codes: npt.NDArray[Any] = np.empty(n, numbers.dtype)
    for piece in pieces:
        keys = labels[piece].astype(np.int64) - low
        codes[piece] = numbers[keys]
    return codes, counts[used]


def _count_coded(
    coded: Coded,
) -> tuple[npt.NDArray[np.unsignedinteger[Any]], npt.NDArray[np.int64]]:
    n_classes = len(coded.labels)
    codes = np.where(coded.codes < 0, np.int32(n_classes), coded.codes)
    counts = np.bincount(codes, minlength=n_classes + 1)[:n_classes]
    return codes.astype(np.min_scalar_type(n_classes)), counts.astype(np.int64)


def join_classes(
    columns: Sequence[npt.NDArray[np.int32]], sizes: Sequence[int]
) -> Classes:
    """Return the combinations of labels that some cell has.

    Parameters
    ----------
    columns
        The codes of each column, int32, shape ``(n,)``; -1 is missing.
    sizes
        How many codes each column has.

    Examples
    --------
    >>> a, b = np.array([1, 0, 1], np.int32), np.array([0, 2, -1], np.int32)
    >>> classes = join_classes([a, b], [2, 3])
    >>> classes.codes.tolist(), classes.parts.tolist()
    ([1, 0, -1], [[0, 2], [1, 0]])
    """
    codes, used = _number_used(columns[0].astype(np.int64), sizes[0])
    parts = used[:, None]
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        keys = codes.astype(np.int64) * size + column
        keys[(codes < 0) | (column < 0)] = -1
        codes, used = _number_used(keys, len(parts) * size)
        parts = np.column_stack([parts[used // max(size, 1)], used % max(size, 1)])
    return Classes(codes, parts.astype(np.int32))


def leave_out(classes: Classes, left_out: npt.NDArray[np.bool_] | None) -> Classes:
    """Return the classes that some cell has that is not left out.

    Parameters
    ----------
    classes
        The classes of all cells.
    left_out
        Which cells are left out, shape ``(n,)``; None: none.
    """
    if left_out is None:
        return classes
    codes = np.where(left_out, np.int32(-1), classes.codes)
    left = join_classes([codes], [len(classes.parts)])
    return Classes(left.codes, classes.parts[left.parts[:, 0]])


def _number_used(
    keys: npt.NDArray[np.int64], n_keys: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return each key's place among the keys that come, and these in order; -1 stays.

    Parameters
    ----------
    keys
        Integers in ``[-1, n_keys)``, shape ``(n,)``.
    n_keys
        The limit of the keys.
    """
    missing = keys < 0
    present = keys[~missing] if missing.any() else keys
    if n_keys > max(len(keys), _SMALL_RANGE):
        used, found = np.unique(present, return_inverse=True)
        return _spread(found.reshape(-1), missing), used
    # Keys of a small range are marked, which is quicker than sorting them.
    comes = np.zeros(n_keys, bool)
    comes[present] = True
    place = np.cumsum(comes, dtype=np.int32) - np.int32(1)
    used = np.flatnonzero(comes).astype(np.int64, copy=False)
    return _spread(place[present], missing), used


def _spread(
    codes: npt.NDArray[Any], missing: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Return the codes of all cells, given those of the ones that have a label."""
    out = np.full(len(missing), -1, np.int32)
    out[~missing] = codes
    return out
