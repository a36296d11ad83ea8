"""The demo and its plates as functions, which return plain data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..sources import open as open_source
from .arguments import StorageOptions
from .comparison import compare
from .plate_layouts import LayoutName
from .synthetic import Compression, demo_plates, make_plates

__all__ = ["demo", "make_data"]

Progress = Callable[[str, int, int], object] | None


def demo(
    data: Any = None,
    *,
    label: str = "cell_line",
    x: str = "X",
    join: Literal["exact", "inner", "outer"] = "exact",
    storage_options: StorageOptions = None,
    cells: int = 10_000,
    plates: int = 4,
    genes: int = 62_710,
    compression: Compression | None = "gzip",
    folder: str | Path | None = None,
    batch_size: int = 64,
    block_size: int = 16,
    fetch_factor: int = 16,
    seed: int = 0,
    progress: Progress = None,
) -> dict[str, Any]:
    """Train a small model in three orders, and compare them.

    Parameters
    ----------
    data
        What to train on, whatever :func:`scdataset_core.open` takes; None: synthetic
        plates, which are kept for the next time.
    label
        The obs column to learn.
    x, join, storage_options
        As for :func:`scdataset_core.open`.
    cells, plates, genes, compression, folder
        Cells in each synthetic plate, how many plates and genes there are, how they are
        compressed, and where they are kept; the user's cache folder by default.
    batch_size, block_size, fetch_factor
        Sizes of block sampling.
    seed
        Seed of the split and the orders.
    progress
        Called with the stage, the cells that are done, and how many there are.

    Returns
    -------
    report
        Plain data: ``label``, ``n_classes``, ``n_train``, ``n_held_out``,
        ``batch_size``, the held-out ``plate`` or None, ``random_entropy`` in bits, the
        ``majority``'s share, the ``target`` accuracy; ``outcomes``, a list with one for
        each order: ``name``, ``block_size`` (0: file order), ``fetch_factor``,
        ``loading`` in cells a second, ``entropy``, ``entropy_std``, ``accuracy``,
        ``curve`` (pairs of cells seen and accuracy), and ``seconds_to_target`` of
        loading, or None; ``too_few``, why nothing can be said, or None; and ``notes``.

    Raises
    ------
    ValueError
        If there is nothing to learn from `label`.
    """
    if data is None:
        data = demo_plates(
            folder,
            n_plates=plates,
            n_cells=cells,
            n_genes=genes,
            compression=compression,
            report=progress,
        )
    comparison = compare(
        open_source(data, obs=[label], x=x, join=join, storage_options=storage_options),
        label,
        batch_size=batch_size,
        block_size=block_size,
        fetch_factor=fetch_factor,
        seed=seed,
        report=progress,
    )
    return comparison.report()


def make_data(
    folder: str | Path,
    *,
    cells: int = 10_000,
    plates: int = 4,
    genes: int = 62_710,
    stored: int | None = None,
    compression: Compression | None = "gzip",
    layout: LayoutName = "default",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = None,
) -> dict[str, Any]:
    """Write synthetic plates: plate1.h5ad, plate2.h5ad, ...

    Parameters
    ----------
    folder
        Where they are written.
    cells
        Cells in each plate.
    plates
        How many plates, from 1 to 99.
    genes
        Genes, the same in every plate.
    stored
        Mean genes with counts in a cell, at most a quarter of `genes`; None: 2,000, or
        as many as that.
    compression, layout
        How the arrays of X are compressed, and whose types and chunks they have:
        ``"default"`` as AnnData writes them, ``"tahoe"`` or ``"cellxgene"``.
    seed
        Another seed gives other plates.
    overwrite
        Replace plates that are there.
    progress
        Called with the stage, the cells that are done, and how many there are.

    Returns
    -------
    report
        Plain data: ``files``, a list of ``{"file", "bytes"}``, and how many ``cells``
        and ``genes`` they have together.

    Raises
    ------
    ValueError
        If a number is out of range, or `layout` is not known.
    FileExistsError
        If there is such a plate already, and it is not to be replaced.
    """
    done = 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        if progress is not None:
            progress("make plates", done, plates * cells)

    paths = make_plates(
        folder,
        n_plates=plates,
        n_cells=cells,
        n_genes=genes,
        stored_per_cell=min(2_000, genes // 4) if stored is None else stored,
        compression=compression,
        layout=layout,
        seed=seed,
        existing="replace" if overwrite else "error",
        progress=count,
    )
    return {
        "files": [{"file": str(path), "bytes": path.stat().st_size} for path in paths],
        "cells": plates * cells,
        "genes": genes,
    }
