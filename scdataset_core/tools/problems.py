"""What may be wrong with files of cells, and the line that mends it."""

import shlex
from collections import Counter
from collections.abc import Iterator
from keyword import iskeyword
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..sources import Source

__all__ = [
    "Problem",
    "count_missing",
    "problem_of_damage",
    "problem_of_missing",
    "problems_of_arrays",
    "problems_of_cell_names",
    "problems_of_names",
    "problems_of_rows",
]

# A chunk that decodes to more than this makes every read of a few rows dear.
GIANT_BYTES = 64 << 20
# What is smaller is read quickly however it is stored.
LEAST_BYTES = 16 << 20
N_ROWS = 64  # are read to see how their values are stored
MOST_NAMED = 3
MOST_CELL_NAMES = 1_000_000  # are read of a file, which takes a second or two


class Problem(NamedTuple):
    """Something that is wrong, or dearer than it need be.

    Parameters
    ----------
    file
        The file.
    what
        What is wrong.
    mends
        The line that mends it; None where nothing need be done.
    """

    file: str
    what: str
    mends: str | None


def problems_of_arrays(path: str, name: str, source: Source) -> Iterator[Problem]:
    """Yield what is dear about the way a matrix is stored."""
    for array in source.x_arrays():
        grid = array.grid
        if grid is None:
            if array.nbytes_stored < LEAST_BYTES:
                continue
            yield Problem(
                path,
                f"{array.name} can only be read by its format's own library, slowly",
                _rewriting(path, name),
            )
            continue
        if grid.pipeline and grid.n_bytes > GIANT_BYTES:
            yield Problem(
                path,
                f"{array.name} has chunks of {grid.n_bytes / 2**20:,.0f} MiB, and each"
                " is decoded whole for any of its rows",
                _rewriting(path, name),
            )
    dtype = source.dtype
    if dtype.kind == "f" and dtype.itemsize > 4:
        yield Problem(
            path,
            f"{name} is {dtype}, twice the bytes of float32",
            'scd.Loader(source, dtype="float32")  # or write it anew as float32',
        )
    ids = [a for a in source.x_arrays()[1::2] if source.sparse]
    if any(a.dtype.itemsize == 8 for a in ids) and source.shape[1] < 2**31:
        yield Problem(
            path,
            f"{name} has 64-bit column ids: 12 bytes a stored value in place of 8",
            'scd.open(files, cache="folder")  # keeps about 3'
            if any(a.grid is not None and a.grid.pipeline for a in ids)
            else _rewriting(path, name),
        )


def _rewriting(path: str, name: str) -> str:
    """Return the command that writes a matrix anew, laid out for shuffled reads."""
    more = "" if name == "X" else f" --x {shlex.quote(name)}"
    return f"scdataset rewrite {shlex.quote(path)} new.h5ad{more}"


def problems_of_names(path: str, source: Source) -> Iterator[Problem]:
    """Yield what is wrong with the names of genes."""
    yield from _repeated(path, source.var_names, "genes", "var_names")


def problem_of_missing(
    path: str, source: Source, name: str, n_missing: int
) -> Problem | None:
    """Return that cells have no label, or NaN, in an obs column, if some have none."""
    if not n_missing:
        return None
    return Problem(
        path,
        f"obs column {name} has {n_missing:,} missing labels, which come as -1"
        if name in source.categories
        else f"obs column {name} has {n_missing:,} missing values",
        f"rows = source.where({_keyword(name)})  # and ~rows for the others",
    )


def problem_of_damage(path: str, error: Exception) -> Problem:
    """Return that something in a file cannot be read; `verify` tells all that is so."""
    what = str(error).removeprefix(f"{path}: ")
    return Problem(path, what, f"scdataset verify {shlex.quote(path)}")


def problems_of_cell_names(path: str, source: Source) -> Iterator[Problem]:
    """Yield that cells share names; the source was opened with ``obs_names=True``."""
    names = source.read_names(np.arange(min(len(source), MOST_CELL_NAMES)))
    if names is not None:
        yield from _repeated(path, names, "cells", "obs_names")


def _repeated(
    path: str, names: npt.NDArray[Any], of: str, attribute: str
) -> Iterator[Problem]:
    counts = Counter("nan" if name is None else name for name in names.tolist())
    twice = sorted(name for name, n in counts.items() if n > 1)
    if twice:
        yield Problem(
            path,
            f"{len(twice):,} names of {of} occur more than once"
            f" ({', '.join(twice[:MOST_NAMED])})",
            f"adata.{attribute}_make_unique()",
        )


def _keyword(name: str) -> str:
    """Return how a call names a column, whose name may be no Python name."""
    if name.isidentifier() and not iskeyword(name):
        return f"{name}=None"
    return f"**{{{name!r}: None}}"


def count_missing(source: Source, name: str) -> int:
    """Return how many cells have no label, or NaN, in an obs column; it is read."""
    values = source.obs[name]
    if name in source.categories:
        return int(np.count_nonzero(values < 0))
    return int(np.count_nonzero(np.isnan(values))) if values.dtype.kind == "f" else 0


def problems_of_rows(path: str, source: Source) -> Iterator[Problem]:
    """Yield what a few rows show: column ids that are not in order, or repeat."""
    n = min(len(source), N_ROWS)
    if not source.sparse or source.parts or not n:
        return
    rows = np.unique(np.linspace(0, len(source) - 1, n).astype(np.int64))
    try:
        x = source.read(rows)["X"]
    except Exception as error:
        yield problem_of_damage(path, error)
        return
    unsorted = repeated = False
    for start, stop in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        steps = np.diff(x.indices[start:stop].astype(np.int64))
        unsorted |= bool((steps < 0).any())
        repeated |= len(np.unique(x.indices[start:stop])) < stop - start
    if repeated:
        yield Problem(
            path, "rows name a column more than once", "adata.X.sum_duplicates()"
        )
    if unsorted:
        yield Problem(
            path, "column ids are not in order within rows", "adata.X.sort_indices()"
        )
