"""Rewrites each of some files to a file of its own, in a cluster."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..row_sets import RowSet
from ..sources import Source
from ..sources import open as open_source
from .cluster import run_on_cluster

__all__ = ["RewriteOne", "rewrite_each"]

RewriteOne = Callable[..., dict[str, Any]]
"""``rewrite_one(source, out, rows=, progress=, ...)`` writes rows to a file."""

Rows = npt.NDArray[np.int64]


def rewrite_each(
    source: Source,
    folder: Path,
    rows: RowSet,
    rewrite_one: RewriteOne,
    *,
    ray: str | bool,
    overwrite: bool,
    progress: Callable[[str, Any, int], object] | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Write the chosen cells of each file of a source to a file of its own.

    The source is that of all files, so what is written has the genes, and the labels of
    obs columns, that all have in common.

    Parameters
    ----------
    source
        The source.
    folder
        Where the files are written, under the names that they have.
    rows
        Which cells.
    rewrite_one
        Writes one file.
    ray
        Address of the cluster.
    overwrite
        Whether to replace files that are there; otherwise they are skipped, if they
        have the cells and genes that would be written.
    progress
        Called now and then with ``"files"``, those that are done, parts of them
        counted, and those there are.
    options
        More arguments of `rewrite_one`.

    Returns
    -------
    report
        ``ok``, ``folder``, ``cells``, ``genes``, ``bytes``, ``seconds``; ``files``, the
        reports of those that were written; ``skipped``, a list of ``{"file",
        "reason"}``; and ``failed``, a list of ``{"file", "error"}``.

    Raises
    ------
    ValueError
        If two files would be written to one name, or the source has no files.
    FileExistsError
        If a file that is read would be replaced.
    """
    begun = time.perf_counter()
    targets = _find_targets(source, folder)
    folder.mkdir(parents=True, exist_ok=True)
    cut = _cut_by_file(source, rows)
    items, skipped = [], []
    for file, target, own in zip(source.files, targets, cut, strict=True):
        if not len(own):
            skipped.append({"file": file, "reason": "none of its cells is chosen"})
        else:
            items.append((file, target, own))
    work = partial(
        _rewrite_in_cluster,
        source=source,
        rewrite_one=rewrite_one,
        options={**options, "overwrite": overwrite},
    )
    outcomes = run_on_cluster(
        work, items, ray, threads=options.get("threads"), progress=progress
    )
    reports, failed = [], []
    for (file, target, _), outcome in zip(items, outcomes, strict=True):
        if outcome.error is not None:
            failed.append({"file": file, "error": outcome.error})
        elif outcome.result is None:
            skipped.append({"file": file, "reason": f"{target} is there already"})
        else:
            reports.append(outcome.result)
    return {
        "ok": not failed,
        "folder": str(folder),
        "cells": sum(report["cells"] for report in reports),
        "genes": source.shape[1],
        "bytes": sum(report["bytes"] for report in reports),
        "seconds": time.perf_counter() - begun,
        "files": reports,
        "skipped": skipped,
        "failed": failed,
    }


def _find_targets(source: Source, folder: Path) -> list[Path]:
    """Return the file to write for each file that is read."""
    if not source.files:
        raise ValueError(
            "a cluster rewrites files, and this source is of none; open it by path"
        )
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            17,
            "in a cluster each file is written to a folder, and this is a file",
            str(folder),
        )
    targets = [folder / f"{Path(file).stem}.h5ad" for file in source.files]
    again = [str(path) for path, n in Counter(targets).items() if n > 1]
    if again:
        raise ValueError(
            f"several of the files would be written to {again[0]}; rewrite them in"
            " turns, to a folder each"
        )
    read = {os.path.realpath(file) for file in source.files}
    for target in targets:
        if os.path.realpath(target) in read:
            raise FileExistsError(
                17, "the file is one of those that are read", str(target)
            )
    return targets


def _cut_by_file(source: Source, rows: RowSet) -> Sequence[range | Rows]:
    """Return the rows of each file that are among `rows`."""
    starts = source.file_starts.tolist()
    if len(rows) == len(source):
        return [range(first, stop) for first, stop in pairwise(starts)]
    chosen = rows.to_numpy()
    return np.split(chosen, np.searchsorted(chosen, source.file_starts[1:-1]))


def _check_same(target: Path, source: Source, n_rows: int) -> None:
    """Raise unless a file has the cells and genes that would be written to it."""
    there = open_source(target)
    same_genes = np.array_equal(there.var_names, source.var_names)
    if len(there) != n_rows or not same_genes:
        raise FileExistsError(
            f"{target} is there already, with other cells or genes; overwrite it, or"
            " choose another folder"
        )


def _rewrite_in_cluster(
    item: tuple[str, Path, range | Rows],
    tell: Callable[[float], None],
    *,
    source: Source,
    rewrite_one: RewriteOne,
    options: dict[str, Any],
) -> dict[str, Any] | None:
    """Write one file, and return its report; a worker of a cluster runs this.

    It is None if the file was there, as a run that was interrupted left it.
    """
    _, target, rows = item
    if target.exists() and not options["overwrite"]:
        _check_same(target, source, len(rows))
        return None

    def progress(_: str, done: int, total: int) -> None:
        tell(done / max(total, 1))

    chosen = np.asarray(rows, np.int64)
    return rewrite_one(source, target, rows=chosen, progress=progress, **options)
