"""Inspects files: what is in them, how it is stored, and what is wrong."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from ..errors import ScdatasetError
from ..sources import Source
from ..sources.ranged.storage_blocks import decoded_per_used
from ..storage import StoredArray
from .arguments import InputFile, StorageOptions, need_files
from .problems import (
    Problem,
    count_missing,
    problem_of_damage,
    problem_of_missing,
    problems_of_arrays,
    problems_of_cell_names,
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
    data: Any,
    *,
    storage_options: StorageOptions = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Return what files hold, how it is stored, and what is wrong with them.

    X is not read, but for a few rows in each of the first files.

    Parameters
    ----------
    data
        A path, a glob, a URL, or a list of these, of any format that `open` reads.
    storage_options
        For URLs, as `open` takes them.
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
        - each of ``obs`` that can be read: ``name``, ``kind``, ``n_labels`` and
          ``n_missing``;
        - ``problems``: ``file``, ``what`` is wrong, and the line that ``mends`` it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `data` is no path.
    """
    inputs = need_files("inspect", data, storage_options)
    files: list[dict[str, Any]] = []
    problems: list[Problem] = []
    genes: tuple[str, Any] | None = None
    for number, file in enumerate(inputs):
        detailed = number < MOST_DETAILED
        report, source, found = _inspect_file(file, detailed=detailed)
        files.append(report)
        problems += found
        if source is not None and not source.parts:
            if genes is None:
                genes = file.name, source.var_names
            elif not np.array_equal(genes[1], source.var_names):
                problems.append(_differing_genes(file.name, source, *genes))
        if progress is not None:
            progress(file.name, number + 1, len(inputs))
    opened = [file for file in files if "cells" in file]
    return {
        "cells": sum(file["cells"] for file in opened),
        "genes": opened[0]["genes"] if opened else None,
        "bytes": sum(file["bytes"] for file in files),
        "files": files,
        "problems": [problem._asdict() for problem in dict.fromkeys(problems)],
    }


def _inspect_file(
    file: InputFile, *, detailed: bool
) -> tuple[dict[str, Any], Source | None, list[Problem]]:
    """Return the report of one file, its source if it opens, and what is wrong."""
    path = file.name
    report: dict[str, Any] = {"file": path, "format": None, "bytes": 0}
    try:
        report["bytes"] = file.count_bytes()
        # "an .h5ad file" without its article.
        report["format"] = file.find_format().name.partition(" ")[2]
        source, notices = _open(file, obs=True if detailed else None)
    except _ERRORS as error:
        return report, None, [_problem_of_error(path, error)]
    report |= {"cells": source.shape[0], "genes": source.shape[1]}
    problems = [Problem(path, notice, None) for notice in notices]
    report["matrices"] = matrices = []
    report["obs"] = []
    for name, matrix in _matrices(file, source, detailed=detailed, problems=problems):
        matrices.append(_describe_matrix(name, matrix))
        problems += problems_of_arrays(path, name, matrix)
    if detailed:
        problems += problems_of_names(path, source)
        report["obs"] = _describe_obs(path, source, problems)
        if source.contents is not None:  # other formats need not name cells
            try:
                named = _open(file, obs_names=True)[0]
                problems += problems_of_cell_names(path, named)
            except _ERRORS as error:
                problems.append(_problem_of_error(path, error))
        problems += problems_of_rows(path, source)
    return report, source, problems


def _open(file: InputFile, **options: Any) -> tuple[Source, list[str]]:
    """Open a file; return the source and what `open` warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = file.open(**options)
    return source, [str(warning.message) for warning in caught]


def _problem_of_error(path: str, error: Exception) -> Problem:
    """Return the problem of a file that cannot be opened; errors say what to do."""
    what, _, mend = str(error).removeprefix(f"{path}: ").partition("; ")
    return Problem(path, what, mend or None)


def _matrices(
    file: InputFile, source: Source, *, detailed: bool, problems: list[Problem]
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
            yield name, _open(file, x=name)[0]
        except _ERRORS as error:
            problems.append(_problem_of_error(file.name, error))


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


def _describe_obs(
    path: str, source: Source, problems: list[Problem]
) -> list[dict[str, Any]]:
    """Return what the columns of obs hold; what cannot be read is a problem."""
    described = []
    for name in source.obs_columns:
        try:
            n_missing = count_missing(source, name)
        except _ERRORS as error:
            problems.append(problem_of_damage(path, error))
            continue
        found = problem_of_missing(path, source, name, n_missing)
        problems += [] if found is None else [found]
        labels = source.categories.get(name)
        described.append(
            {
                "name": name,
                "kind": "labels" if labels is not None else str(source.obs_dtype(name)),
                "n_labels": None if labels is None else len(labels),
                "n_missing": n_missing,
            }
        )
    return described


def _differing_genes(path: str, source: Source, first: str, genes: Any) -> Problem:
    ours, theirs = Counter(source.var_names.tolist()), Counter(genes.tolist())
    lost, added = (theirs - ours).total(), (ours - theirs).total()
    what = f"its genes are not those of {first}: {lost:,} are missing, {added:,} more"
    if not lost and not added:
        what = f"its genes are those of {first} in another order"
    return Problem(path, what, 'scd.open(files, join="inner")  # or "outer"')
