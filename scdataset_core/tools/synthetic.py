"""Synthetic plates: `.h5ad` files with the size, sparsity and order of real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from .plate_file import import_writers, write_plate
from .plate_layouts import LAYOUTS, LayoutName
from .safe_file import write_whole
from .screen import Screen

__all__ = ["Compression", "Existing", "demo_plates", "make_plates", "plate_paths"]

Compression = Literal["gzip", "lzf"]
Existing = Literal["error", "keep", "replace"]


def plate_paths(folder: str | Path, n_plates: int) -> list[Path]:
    """Return the paths of plates in `folder`: ``plate1.h5ad``, ..., in order.

    From ten plates on their numbers have leading zeros, so that a glob, which is
    sorted as strings, keeps them in order.
    """
    width = len(str(n_plates))
    numbers = range(1, n_plates + 1)
    return [Path(folder) / f"plate{number:0{width}d}.h5ad" for number in numbers]


def make_plates(
    folder: str | Path,
    *,
    n_plates: int = 4,
    n_cells: int = 50_000,
    n_genes: int = 62_710,
    stored_per_cell: int = 2_000,
    compression: Compression | None = None,
    layout: LayoutName = "default",
    seed: int = 0,
    existing: Existing = "error",
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Write synthetic plates as `.h5ad` files and return their paths.

    X is a float32 CSR matrix of raw counts, which ``layers/counts`` and ``raw/X`` name
    too; ``obsm/X_pca`` is dense. obs has the categoricals ``plate``, ``sample`` (the
    well), ``cell_line`` and ``drug``, and the number ``total_counts``; var has
    ``symbol`` and ``highly_variable``. Genes are called ``gene0``, ``gene1``, ... .
    Memory is bounded by a piece of half a million stored counts, whatever the size
    of a plate.

    Parameters
    ----------
    folder
        Folder for ``plate1.h5ad``, ``plate2.h5ad``, ... (see `plate_paths`); it is made
        if missing. A file gets its name once it is complete; if writing fails or is
        interrupted, the plates before it stay.
    n_plates
        Number of files, from 1 to 99.
    n_cells
        Cells in each plate.
    n_genes
        Genes, the same in every plate; by default as many as Tahoe-100M has.
    stored_per_cell
        Mean number of genes with a count above zero in a cell, at most a quarter of
        `n_genes`.
    compression
        Filter of the arrays of X, as in ``AnnData.write_h5ad``; ``None``: none.
    layout
        Types and chunks of these arrays: ``"default"``, as AnnData writes plates of
        this size; or those of the largest real files, which have int64 column ids and
        chunks of 122,031 values and 61,016 ids (``"tahoe"``, as Tahoe-100M's plates),
        or 14,649 and 7,325 (``"cellxgene"``).
    seed
        Another seed gives other genes, labels and counts.
    existing
        What happens to files that have these names already: ``"error"`` raises before
        anything is written, ``"keep"`` keeps them and ``"replace"`` replaces them.
    progress
        Called with the number of cells just written: several times for each plate, and
        once for a plate that is kept.

    Returns
    -------
    paths
        The files, in order of their numbers.

    Raises
    ------
    ValueError
        If a number is out of range, or `layout` or `existing` is not known.
    FileExistsError
        If a file has the name of a plate, unless `existing` says what to do.
    OSError
        If a file cannot be written; the message says why.
    """
    _check(n_plates, n_cells, n_genes, stored_per_cell)
    _check_layout(layout)
    paths = plate_paths(folder, n_plates)
    _check_existing(paths, existing)
    Path(folder).mkdir(parents=True, exist_ok=True)
    import_writers()
    screen = Screen(seed, n_genes, stored_per_cell)
    for number, path in enumerate(paths, 1):
        if existing == "keep" and path.exists():
            if progress is not None:
                progress(n_cells)
            continue
        write = partial(
            write_plate,
            plate=screen.plate(number, n_cells),
            screen=screen,
            name=path.stem,
            layout=LAYOUTS[layout],
            compression=compression,
            progress=progress,
        )
        write_whole(path, write)
    return paths


def _check_existing(paths: list[Path], existing: Existing) -> None:
    if existing not in get_args(Existing):
        raise ValueError(
            f'existing must be "error", "keep" or "replace", got {existing!r}'
        )
    there = [path for path in paths if path.exists()]
    if there and existing == "error":
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(
            f"{there[0]}{more} would be overwritten; choose another folder, or let"
            " them be replaced: overwrite=True"
        )


def _check(n_plates: int, n_cells: int, n_genes: int, stored_per_cell: int) -> None:
    if not 1 <= n_plates <= 99:
        raise ValueError(f"n_plates must be from 1 to 99, got {n_plates}")
    if n_cells < 1:
        raise ValueError(f"n_cells must be at least 1, got {n_cells}")
    if n_genes < 4:
        raise ValueError(f"n_genes must be at least 4, got {n_genes}")
    if not 1 <= stored_per_cell <= n_genes // 4:
        raise ValueError(
            f"stored_per_cell must be from 1 to a quarter of the {n_genes} genes,"
            f" got {stored_per_cell}"
        )


def _check_layout(layout: str) -> None:
    if layout not in tuple(LAYOUTS):
        *names, last = (f'"{name}"' for name in LAYOUTS)
        raise ValueError(f"layout must be {', '.join(names)} or {last}, got {layout!r}")


def demo_plates(
    folder: str | Path | None = None,
    *,
    n_plates: int = 4,
    n_cells: int = 10_000,
    n_genes: int = 62_710,
    compression: Compression | None = "gzip",
    report: Callable[[str, int, int], object] | None = None,
) -> list[Path]:
    """Return synthetic plates; they are made once and kept for the next time.

    Parameters
    ----------
    folder
        Folder for plates of all sizes; the user's cache folder by default.
    n_plates, n_cells, n_genes, compression
        As for `make_plates`.
    report
        Called with the progress: the stage, the cells that are done, and their total.
    """
    root = _find_cache_folder() if folder is None else Path(folder)
    home = root / f"plates-{n_plates}x{n_cells}x{n_genes}-{compression or 'none'}"
    paths = plate_paths(home, n_plates)
    if all(path.exists() for path in paths):
        return paths
    done = 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        if report is not None:
            report("make plates", done, n_plates * n_cells)

    return make_plates(
        home,
        n_plates=n_plates,
        n_cells=n_cells,
        n_genes=n_genes,
        stored_per_cell=min(2_000, n_genes // 4),
        compression=compression,
        existing="keep",  # an interrupted run may have made some of them
        progress=count,
    )


def _find_cache_folder() -> Path:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.environ.get(name):
            return Path(os.environ[name]) / "scdataset"
    return Path.home() / ".cache" / "scdataset"
