"""One list of labels over all files of a column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from .columns import MAX_LABELS, Label, LabelColumn

__all__ = ["Vocabulary", "decode", "join_labels", "saved_labels"]


@dataclass(frozen=True)
class Vocabulary:
    """The labels of a column, and where each file's own codes lead.

    Parameters
    ----------
    labels
        The label of each code of the source.
    code_maps
        For each file the code of the source for each of its own codes, and -1 as the
        last entry, which is where -1 points; int32.
    unseen
        Labels of the files that are not among `labels`.
    """

    labels: list[Label]
    code_maps: list[npt.NDArray[np.int32]]
    unseen: list[Label]


def join_labels(
    name: str, files: Sequence[str], columns: Sequence[LabelColumn]
) -> Vocabulary:
    """Return one vocabulary for a column of several files.

    The same list in every file keeps its order; otherwise it is the union, sorted as
    strings, whatever the order of the files.

    Raises
    ------
    FileFormatError
        If ordered labels differ, labels are of different kinds, or are too many.
    """
    lists = _plain_lists(columns)
    distinct = _distinct(lists)
    _check_kinds(name, files, lists)
    if any(float in {type(label) for label in labels} for labels in distinct.values()):
        for own in distinct.values():
            own[:] = [float(x) if type(x) is int else x for x in own]
    if all(labels == lists[0] for labels in lists):
        labels = [label for label in lists[0] if label is not None]
    else:
        _check_order(name, files, columns, lists)
        union = {x for own in distinct.values() for x in own if x is not None}
        labels = sorted(union, key=str)
    if len(labels) > MAX_LABELS:
        raise FileFormatError(
            f'obs column "{name}" has {len(labels)} distinct labels over'
            f" {len(files)} files, and {MAX_LABELS} is the most that can be coded:"
            " leave it out of obs"
        )
    return _vocabulary(labels, lists)


def saved_labels(saved: Sequence[Label], columns: Sequence[LabelColumn]) -> Vocabulary:
    """Return the vocabulary that encodes a column as `saved` did."""
    return _vocabulary([_plain(label) for label in saved], _plain_lists(columns))


def decode(
    codes: npt.ArrayLike, labels: Sequence[Label], *, column: str
) -> npt.NDArray[np.object_]:
    """Return the label of each code, None where it is -1, of the shape of `codes`.

    Raises
    ------
    TypeError
        If `codes` are no integers.
    IndexError
        If there is no label of a code.
    """
    array = np.asarray(codes)
    if array.size == 0:
        return np.empty(array.shape, object)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f'codes of "{column}" must be integers, got {array.dtype} of shape'
            f" {array.shape}"
        )
    wrong = (array >= len(labels)) | (array < -1)
    if wrong.any():
        raise IndexError(
            f'there is no code {array[wrong].flat[0]} in obs column "{column}": it has'
            f" {len(labels)} labels, with the codes 0 to {len(labels) - 1}, and -1 for"
            " what is missing"
        )
    table = np.empty(len(labels) + 1, object)  # None last, which is where -1 points
    table[:-1] = labels
    found = np.empty(array.shape, object)
    found[...] = table[array.astype(np.int64)]
    return found


def _vocabulary(labels: list[Label], lists: list[list[Label]]) -> Vocabulary:
    code = {x: position for position, x in enumerate(labels) if x is not None}
    code_maps: dict[tuple[Label, ...], npt.NDArray[np.int32]] = {}
    maps: dict[int, npt.NDArray[np.int32]] = {}
    unseen: dict[Label, None] = {}
    for number, labels_of_file in _distinct(lists).items():
        own = tuple(labels_of_file)
        if own not in code_maps:
            code_maps[own] = np.array([*(code.get(x, -1) for x in own), -1], np.int32)
            unseen.update((x, None) for x in own if x is not None and x not in code)
        maps[number] = code_maps[own]
    return Vocabulary(labels, [maps[id(own)] for own in lists], list(unseen))


def _plain_lists(columns: Sequence[LabelColumn]) -> list[list[Label]]:
    """Return the labels of each column as plain values.

    Files of an index share lists: each different one is gone through once.
    """
    shared = {id(column.labels): column.labels for column in columns}
    plain = {key: [_plain(label) for label in own] for key, own in shared.items()}
    return [plain[id(column.labels)] for column in columns]


def _distinct(lists: Sequence[list[Label]]) -> dict[int, list[Label]]:
    """Return each list once, by its identity."""
    return {id(own): own for own in lists}


def _plain(label: Label) -> Label:
    """Return a label as a Python str, int, float or bool, which JSON can hold.

    None for NaN, which pandas would not list: its cells are missing.
    """
    if type(label) is str:
        return label
    plain = label.item() if isinstance(label, np.generic) else label
    return plain if plain == plain else None  # NaN is not itself


def _check_kinds(
    name: str, files: Sequence[str], lists: Sequence[Sequence[Label]]
) -> None:
    kinds: dict[str, tuple[str, Label]] = {}
    seen: set[int] = set()
    for file, labels in zip(files, lists, strict=True):
        if id(labels) in seen:
            continue
        seen.add(id(labels))
        for label in labels:
            if label is None:
                continue
            kinds.setdefault(_kind(label), (file, label))
    if len(kinds) > 1:
        listed = " and ".join(
            f"{kind} in {file} (such as {label!r})"
            for kind, (file, label) in list(kinds.items())[:2]
        )
        raise FileFormatError(
            f'obs column "{name}" has labels that are {listed}; make them one type'
        )


def _kind(label: Any) -> str:
    if isinstance(label, str):
        return "text"
    return "boolean" if isinstance(label, bool) else "numbers"


def _check_order(
    name: str,
    files: Sequence[str],
    columns: Sequence[LabelColumn],
    lists: Sequence[Sequence[Label]],
) -> None:
    if not any(column.ordered for column in columns):
        return
    first = next(i for i, column in enumerate(columns) if column.ordered)
    other = next(i for i, labels in enumerate(lists) if labels != lists[first])
    raise FileFormatError(
        f'obs column "{name}" is ordered, so its categories must be the same in every'
        f" file: {files[first]} has {_short(lists[first])} and {files[other]} has"
        f" {_short(lists[other])}"
    )


def _short(labels: Sequence[Label]) -> str:
    listed = ", ".join(map(str, labels[:6]))
    return f"[{listed}, ...]" if len(labels) > 6 else f"[{listed}]"
