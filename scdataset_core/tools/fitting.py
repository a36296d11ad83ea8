"""Whether the parts of a file fit together: lengths, codes, and row pointers."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..storage import StoredArray, default_context

__all__ = [
    "Group",
    "Limits",
    "check_elements",
    "check_rising",
    "describe_group",
    "find_limits",
    "find_misfits",
]

_POINTERS_AT_ONCE = 1 << 20
Shape = tuple[int, ...]

_SPARSE = ("csr_matrix", "csc_matrix")
# Of what is kept beside obs and var, which of the two each axis follows.
_AXES = {
    "layers": ("obs", "var"),
    "obsm": ("obs",),
    "obsp": ("obs", "obs"),
    "varm": ("var",),
    "varp": ("var", "var"),
}
_OF = {"obs": "cells", "var": "genes"}


class Group(NamedTuple):
    """What a group says of itself.

    Parameters
    ----------
    kind
        Its encoding; None where it names none.
    shape
        The shape that a sparse matrix states.
    index_name, columns
        Names of the index and the columns of a data frame.
    """

    kind: str | None = None
    shape: Shape | None = None
    index_name: str | None = None
    columns: tuple[str, ...] = ()


class Limits(NamedTuple):
    """What the elements of an array must be.

    Parameters
    ----------
    least, below
        From `least` on, and below `below`.
    what, of
        What an element is, and of what there are `below`; for errors.
    is_rising
        Whether they begin at 0, never fall, and end at ``below - 1``.
    """

    least: int
    below: int
    what: str
    of: str
    is_rising: bool = False


def describe_group(group: Any) -> Group:
    """Return what a group of h5py or zarr (Any) says of itself."""
    kind = group.attrs.get("encoding-type")
    kind = None if kind is None else str(kind)
    # Of other groups, as in uns, attributes of these names may be anything.
    attrs = group.attrs if kind in (*_SPARSE, "dataframe") else {}
    shape = attrs.get("shape") if kind in _SPARSE else None
    index, columns = attrs.get("_index"), attrs.get("column-order")
    return Group(
        kind,
        None if shape is None else tuple(int(n) for n in shape),
        None if index is None else str(index),
        () if columns is None else tuple(str(name) for name in columns),
    )


def find_limits(
    groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> dict[str, Limits]:
    """Return by path what the elements of arrays must be, where groups say it.

    Parameters
    ----------
    groups
        What each group says of itself, by path.
    shapes
        The shape of each array, by path.
    """
    limits: dict[str, Limits] = {}
    for path, group in groups.items():
        if group.kind in _SPARSE and group.shape is not None and len(group.shape) == 2:
            n = group.shape[1 if group.kind == "csr_matrix" else 0]
            limits[_join(path, "indices")] = Limits(0, n, "column", "")
            n_stored = _length(_join(path, "indices"), groups, shapes)
            if n_stored is not None:
                limits[_join(path, "indptr")] = Limits(
                    0, n_stored + 1, "row pointer", "stored elements", is_rising=True
                )
        elif group.kind == "categorical":
            n_labels = _length(_join(path, "categories"), groups, shapes)
            if n_labels is not None:
                limits[_join(path, "codes")] = Limits(
                    -1, n_labels, "code", "categories"
                )
    return limits


def find_misfits(
    groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, str]]:
    """Yield the path of each thing of a wrong length, and what is wrong with it."""
    for path, group in groups.items():
        if group.kind in _SPARSE:
            yield from _misfits_of_matrix(path, group, groups, shapes)
        elif group.kind == "dataframe":
            yield from _misfits_of_table(path, group, groups, shapes)
        elif group.kind is not None and group.kind.startswith("nullable-"):
            values, mask = (
                _length(_join(path, name), groups, shapes)
                for name in ("values", "mask")
            )
            if None not in (values, mask) and values != mask:
                yield path, f"{path} has {values} values and a mask of {mask}"
    for path, group in groups.items():
        if group.kind == "dataframe" and path.rpartition("/")[2] == "obs":
            yield from _misfits_beside(path.rpartition("/")[0], groups, shapes)


def _misfits_of_matrix(
    path: str, group: Group, groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, str]]:
    lengths = {
        name: _length(_join(path, name), groups, shapes)
        for name in ("data", "indices", "indptr")
    }
    for name, length in lengths.items():
        if length is None:
            yield path, f"{path} is a sparse matrix without {name}"
            return
    if lengths["data"] != lengths["indices"]:
        yield (
            path,
            f"{path} has {lengths['data']} values and {lengths['indices']} column ids",
        )
    if group.shape is not None and len(group.shape) == 2:
        n_rows = group.shape[0 if group.kind == "csr_matrix" else 1]
        if lengths["indptr"] != n_rows + 1:
            yield (
                path,
                f"{path} has {lengths['indptr']} row pointers, and"
                f" {n_rows + 1} belong to its {n_rows} rows",
            )


def _misfits_of_table(
    path: str, group: Group, groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, str]]:
    n_rows = _length(path, groups, shapes)
    for column in group.columns:
        inside = _join(path, column)
        found = _length(inside, groups, shapes)
        if None not in (n_rows, found) and found != n_rows:
            yield inside, f"{inside} has {found} values, and {path} has {n_rows} rows"


def _misfits_beside(
    base: str, groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, str]]:
    """Yield matrices that are not of the cells and genes that lie beside them."""
    sizes = {
        name: _length(_join(base, name), groups, shapes) for name in ("obs", "var")
    }
    raw = {**sizes, "var": _length(_join(base, "raw/var"), groups, shapes)}
    wanted: list[tuple[str, tuple[str, ...], dict[str, int | None]]] = [
        (_join(base, "X"), ("obs", "var"), sizes),
        (_join(base, "raw/X"), ("obs", "var"), raw),
    ]
    for folder, axes in _AXES.items():
        start = f"{_join(base, folder)}/"
        wanted += [
            (path, axes, sizes)
            for path in dict.fromkeys([*shapes, *groups])
            if path.startswith(start) and "/" not in path.removeprefix(start)
        ]
    for path, axes, of in wanted:
        shape = _shape(path, groups, shapes)
        for axis, (name, found) in enumerate(zip(axes, shape, strict=False)):
            if of[name] is not None and found != of[name]:
                what = "rows" if axis == 0 else "columns"
                yield (
                    path,
                    f"{path} has {found} {what}, and there are {of[name]} {_OF[name]}",
                )


def _shape(
    path: str, groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> Shape:
    """Return the shape of a matrix, so far as it is known."""
    if path in shapes:
        return shapes[path]
    group = groups.get(path, Group())
    if group.kind in _SPARSE:
        return group.shape or ()
    length = _length(path, groups, shapes)
    return () if length is None else (length,)


def _length(
    path: str, groups: Mapping[str, Group], shapes: Mapping[str, Shape]
) -> int | None:
    """Return the length of an array, a column or a table; None where it is unknown."""
    if path in shapes:
        return shapes[path][0]
    group = groups.get(path, Group())
    inside = {"categorical": "codes", "dataframe": group.index_name}.get(
        group.kind or ""
    )
    if group.kind is not None and group.kind.startswith("nullable-"):
        inside = "values"
    found = None if inside is None else shapes.get(_join(path, inside))
    return None if found is None else found[0]


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def check_elements(
    values: npt.NDArray[Any], stored: StoredArray, limits: Limits | None, where: str
) -> None:
    """Raise unless some elements of an array are what they must be."""
    if limits is None or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if low < limits.least or high >= limits.below:
        wrong = low if low < limits.least else high
        there = limits.below - limits.is_rising
        raise ValueError(
            f"{stored.label}: {where} has the {limits.what} {wrong}, and there"
            f" are {there} {limits.of}".rstrip()
        )


def check_rising(stored: StoredArray, limits: Limits) -> None:
    """Raise unless row pointers begin at 0, never fall, and end where data do."""
    last = 0
    for start in range(0, len(stored), _POINTERS_AT_ONCE):
        stop = min(start + _POINTERS_AT_ONCE, len(stored))
        values = stored.read(start, stop, context=default_context()).astype(np.int64)
        steps = np.diff(values, prepend=last)
        wrong = np.flatnonzero(steps < 0)
        if start == 0 and len(values) and values[0] != 0:
            raise ValueError(f"{stored.label}: row 0 starts at {values[0]}, not 0")
        if len(wrong):
            row = start + int(wrong[0]) - 1
            raise ValueError(
                f"{stored.label}: row {row} ends before it starts, at"
                f" {values[wrong[0]]}"
            )
        last = int(values[-1])
    if last != limits.below - 1:
        raise ValueError(
            f"{stored.label}: the last row ends at {last}, and there are"
            f" {limits.below - 1} stored elements"
        )
