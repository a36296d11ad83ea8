"""Inspects files: what is in them, how it is stored, and what is wrong."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ScdatasetError
from ..sources import Source
from ..sources import open as open_source
from ..sources.formats import format_of
from ..sources.ranged.storage_blocks import decoded_per_used
from ..storage import StoredArray
from .arguments import need_paths
from .problems import (
    Problem,
    count_missing,
    problems_of_arrays,
    problems_of_names,
    problems_of_rows,
)

__all__ = ["inspect"]

BLOCK_SIZES = (1, 4, 16, 64, 256)
# Labels, names and other matrices are looked at in so many files, shapes and chunks
# in all.
MOST_DETAILED = 8
_ERRORS = (ScdatasetError, OSError, ValueError, RuntimeError, KeyError, TypeError)


def inspect(
    data: Any, *, progress: Callable[[str, int, int], object] | None = None
) -> dict[str, Any]:
    """Return what files hold, how it is stored, and what is wrong with them.

    X is not read, but for a few rows in each of the first files.

    Parameters
    ----------
    data
        A path, a glob, or a list of paths, of any format that `open` reads.
    progress
        Called after each file with its name, the files done, and how many there are.

    Returns
    -------
    report
        Plain data:

        - ``cells`` and ``genes`` of all files that can be opened, ``bytes`` on disk;
        - ``files``: for each its ``file``, ``format``, ``bytes``, and, if it can be
          opened, ``cells``, ``genes``, ``matrices`` and ``obs``;
        - each of ``matrices``: ``name``, ``kind`` (sparse or dense), ``dtype``,
          ``cells``, ``columns``, ``stored_per_cell``, ``cells_a_chunk``, ``arrays``
          (``name``, ``dtype``, ``chunk``, ``codec``, ``bytes`` stored, ``plain_bytes``)
          and ``decoded_per_used``: by block size, how many bytes a shuffled read
          decodes for one that it uses;
        - each of ``obs``: ``name``, ``kind``, ``n_labels`` and ``n_missing``;
        - ``problems``: ``file``, ``what`` is wrong, and the line that ``mends`` it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path.
    """
    paths = need_paths("inspect", data)
    files: list[dict[str, Any]] = []
    problems: list[Problem] = []
    genes: tuple[str, Any] | None = None
    for number, path in enumerate(paths):
        detailed = number < MOST_DETAILED
        report, source, found = _inspect_file(path, detailed=detailed)
        files.append(report)
        problems += found
        if source is not None and not source.parts:
            if genes is None:
                genes = path, source.var_names
            elif not np.array_equal(genes[1], source.var_names):
                problems.append(_differing_genes(path, source, *genes))
        if progress is not None:
            progress(path, number + 1, len(paths))
    opened = [file for file in files if "cells" in file]
    return {
        "cells": sum(file["cells"] for file in opened),
        "genes": opened[0]["genes"] if opened else None,
        "bytes": sum(file["bytes"] for file in files),
        "files": files,
        "problems": [problem._asdict() for problem in dict.fromkeys(problems)],
    }


def _inspect_file(
    path: str, *, detailed: bool
) -> tuple[dict[str, Any], Source | None, list[Problem]]:
    """Return the report of one file, its source if it opens, and what is wrong."""
    report: dict[str, Any] = {"file": path, "format": None, "bytes": _size(path)}
    try:
        # "an .h5ad file" without its article.
        report["format"] = format_of(path).name.partition(" ")[2]
        source, notices = _open(path, obs=True if detailed else None)
    except _ERRORS as error:
        return report, None, [_problem_of_error(path, error)]
    report |= {"cells": source.shape[0], "genes": source.shape[1]}
    problems = [Problem(path, notice, None) for notice in notices]
    report["matrices"] = matrices = []
    report["obs"] = []
    for name, matrix in _matrices(path, source, detailed=detailed, problems=problems):
        matrices.append(_describe_matrix(name, matrix))
        problems += problems_of_arrays(path, name, matrix)
    if detailed:
        report["obs"] = [_describe_column(source, name) for name in source.obs_columns]
        problems += problems_of_names(path, source)
        problems += problems_of_rows(path, source)
    return report, source, problems


def _open(path: str, **options: Any) -> tuple[Source, list[str]]:
    """Open a file; return the source and what `open` warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = open_source(path, **options)
    return source, [str(warning.message) for warning in caught]


def _problem_of_error(path: str, error: Exception) -> Problem:
    """Return the problem of a file that cannot be opened; errors say what to do."""
    what, _, mend = str(error).removeprefix(f"{path}: ").partition("; ")
    return Problem(path, what, mend or None)


def _size(path: str) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    place = Path(path)
    if place.is_dir():
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return place.stat().st_size


def _matrices(
    path: str, source: Source, *, detailed: bool, problems: list[Problem]
) -> Iterator[tuple[str, Source]]:
    """Yield the matrices of a file: X, and in a detailed report the others."""
    if source.parts:
        yield from source.parts.items()
        return
    yield getattr(source, "x", "X"), source
    contents = source.contents
    if not detailed or contents is None:
        return
    for name in contents.matrices:
        if name == contents.x:
            continue
        try:
            yield name, _open(path, x=name)[0]
        except _ERRORS as error:
            what, _, mend = str(error).removeprefix(f"{path}: ").partition("; ")
            problems.append(Problem(path, what, mend or None))


def _describe_matrix(name: str, source: Source) -> dict[str, Any]:
    arrays = source.x_arrays()
    return {
        "name": name,
        "kind": "sparse" if source.sparse else "dense",
        "dtype": str(source.dtype),
        "cells": source.shape[0],
        "columns": source.shape[1],
        "stored_per_cell": float(source.mean_stored),
        "cells_a_chunk": int(source.natural_block),
        "arrays": [_describe_array(array) for array in arrays],
        "decoded_per_used": {
            # A block of more cells than there are is all of them.
            block: decoded_per_used(
                arrays, source.shape[0], min(block, max(source.shape[0], 1))
            )
            for block in BLOCK_SIZES
        },
    }


def _describe_array(array: StoredArray) -> dict[str, Any]:
    grid = array.grid
    codec = "read through its library"
    if grid is not None:
        codec = str(grid.pipeline) if grid.pipeline else "none"
    chunk = None
    if grid is not None and not array.contiguous:
        chunk = list(grid.chunk_shape)
    return {
        "name": array.name,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "chunk": chunk,
        "codec": codec,
        "bytes": int(array.nbytes_stored),
        "plain_bytes": prod(array.shape) * array.dtype.itemsize,
    }


def _describe_column(source: Source, name: str) -> dict[str, Any]:
    labels = source.categories.get(name)
    return {
        "name": name,
        "kind": "labels" if labels is not None else str(source.obs_dtype(name)),
        "n_labels": None if labels is None else len(labels),
        "n_missing": count_missing(source, name),
    }


def _differing_genes(path: str, source: Source, first: str, genes: Any) -> Problem:
    ours, theirs = Counter(source.var_names.tolist()), Counter(genes.tolist())
    lost, added = (theirs - ours).total(), (ours - theirs).total()
    what = f"its genes are not those of {first}: {lost:,} are missing, {added:,} more"
    if not lost and not added:
        what = f"its genes are those of {first} in another order"
    return Problem(path, what, 'scd.open(files, join="inner")  # or "outer"')
