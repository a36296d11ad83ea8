"""Rewrites files for sets that will be read for months: narrow, joined, shuffled."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..row_sets import RowSet
from ..sources import Source
from ..sources import open as open_source
from ..storage.remote.urls import is_url
from .arguments import StorageOptions, refuse_options
from .cluster import names_cluster
from .narrow_file import TooNarrowError
from .resumable_file import write_resumably
from .rewriting_each import rewrite_each
from .rewritten_file import Rewriting
from .rewritten_tables import find_left_out
from .verification import verify

__all__ = ["rewrite"]


def rewrite(
    data: Any,
    out: "str | os.PathLike[str]",
    *,
    x: str | Sequence[str] = "X",
    join: str = "exact",
    genes: Any = None,
    rows: Any = None,
    where: Mapping[str, Any] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    compression: str | None = None,
    memory: int | str = "1GiB",
    overwrite: bool = False,
    storage_options: StorageOptions = None,
    threads: int | None = None,
    progress: Callable[[str, Any, int], object] | None = None,
    ray: str | bool | None = None,
) -> dict[str, Any]:
    """Write cells of any files to one `.h5ad` file that is made for shuffled reads.

    Values and column ids are kept in the narrowest types that hold them exactly, as in
    the chunk cache, and by default nothing is compressed: counts then take 3 bytes in
    place of 8, and any run of cells is one read. AnnData and scanpy read the file.

    The file appears under its name when it is whole and was checked against what was
    written. Whatever happens before, there is no half file under it. A run that is
    killed leaves what it has written beside it, and the next one with the same
    arguments goes on from there; one with others removes it, as does one that reads
    something else than ordinary local files.

    Parameters
    ----------
    data
        Files, as :func:`scdataset_core.open` takes them; or an open source, of which
        the matrices, obs columns and names of cells are written that it carries.
    out
        The file to write; in a cluster the folder, to which each file that is read is
        written under its own name. All have the genes of all, as `join` and `genes`
        say; `shuffle` then is within each.
    x
        The matrices to write: ``"X"``, ``"layers/NAME"``, ``"obsm/NAME"``, or several,
        the first of which becomes X where there is no ``"X"`` among them.
    join, genes
        How genes of several files are joined, and which are kept, see
        :func:`scdataset_core.open`.
    rows
        Which cells: a :class:`scdataset_core.RowSet`, booleans or row numbers; all by
        default. They keep the order of the data.
    where
        Conditions that cells must meet, see :meth:`scdataset_core.Source.where`.
    shuffle
        Whether to write the cells in the order in which block shuffling would read
        them, so that reading in file order mixes as well.
    seed
        Another seed gives another order.
    compression
        ``"gzip"`` or ``"lzf"``: smaller, and slower to read; None: neither.
    memory
        Most bytes that reading may take, see :class:`scdataset_core.Loader`.
    overwrite
        Whether to replace `out` if it is there. In a cluster, files that are there are
        otherwise skipped, so that a run that was interrupted can be started again.
    storage_options
        For URLs, as :func:`scdataset_core.open` takes them.
    threads
        Threads that read and decode; None: one a core, at most 8. In a cluster: those
        for each file, 1 by default.
    progress
        Called now and then with what is done, and the cells done and in all. In a
        cluster: with ``"files"``, how many files are done, parts of them counted, and
        how many there are.
    ray
        Address of a Ray cluster that writes the files, each in a task of its own, see
        :func:`verify`.

    Returns
    -------
    report
        Plain data: ``file``, ``cells``, ``resumed`` (how many of them a run that was
        killed had written), ``genes``, ``bytes``, ``seconds``;
        ``matrices``, the types of each; and ``left_out``, the matrices and obs columns
        of the first file that were not written (``uns``, ``raw/var``, ``varm``,
        ``obsp`` and ``varp`` never are). In a cluster: ``ok``; ``folder`` in place of
        ``file``; ``files``, such reports; ``skipped``, a list of ``{"file",
        "reason"}``; and ``failed``, a list of ``{"file", "error"}``.

    Raises
    ------
    FileExistsError
        If `out` is there, or is one of the files that are read.
    ValueError
        If no cell is chosen, `out` is named as a file of another format, an option is
        not one of those above, or says how to open what is open already.
    OSError
        If the file cannot be written; the message names it and the reason.
    ModuleNotFoundError
        If there is to be a cluster, and Ray is not installed.
    """
    if is_url(os.fspath(out)):
        raise ValueError(
            f"{out}: rewrite writes a local file; give a path, and upload the file"
        )
    target = Path(out).absolute()
    if compression not in (None, "gzip", "lzf"):
        raise ValueError(
            f'compression must be None, "gzip" or "lzf", got {compression!r}'
        )
    begun = time.perf_counter()
    options = {"join": join, "genes": genes, "storage_options": storage_options}
    if isinstance(data, Source):
        refuse_options(data, x=x, **options)
    source = (
        data
        if isinstance(data, Source)
        else open_source(data, obs=True, obs_names=True, x=x, **options)
    )
    if names_cluster(ray):
        settings: dict[str, Any] = {"shuffle": shuffle, "seed": seed}
        settings |= {"compression": compression, "memory": memory}
        return rewrite_each(
            source,
            target,
            _choose_rows(source, rows, where),
            rewrite,
            ray=ray,
            overwrite=overwrite,
            progress=progress,
            options={**settings, "threads": threads or 1},
        )
    if target.suffix in (".zarr", ".h5mu"):
        raise ValueError(f"{out}: rewrite writes an .h5ad file; end its name so")
    if any(_is_same(target, file) for file in source.files):
        raise FileExistsError(17, "the file is one of those that are read", str(target))
    if target.exists() and not overwrite:
        raise FileExistsError(
            17,
            "the file is there already; choose another, or overwrite it",
            str(target),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    chosen = _choose_rows(source, rows, where)
    job = Rewriting(
        source, chosen, shuffle, seed, compression, memory, threads, progress
    )
    while True:
        try:
            write_resumably(target, job.key, job.write)
            break
        except TooNarrowError as found:  # a value that the sample did not show
            job.kinds[found.name] = found.kind
    left_out = find_left_out(source, job.places)
    if "obs_names" in left_out:
        warnings.warn(
            "cells are named by their rows: the source was opened without"
            " obs_names=True",
            stacklevel=2,
        )
    report = verify(target, threads=threads)
    if not report["ok"]:
        raise OSError(f"{target} was written, and is damaged: {report['damaged'][0]}")
    return {
        "file": str(target),
        "cells": len(chosen),
        "resumed": job.n_resumed,
        "genes": job.genes_of.shape[1],
        "bytes": target.stat().st_size,
        "seconds": time.perf_counter() - begun,
        "matrices": job.types,
        "left_out": left_out,
    }


def _is_same(target: Path, file: str) -> bool:
    """Return whether two names, maybe through links, are of one file."""
    with suppress(OSError):  # there is no such file, as behind a URL
        return target.samefile(file)
    return False


def _choose_rows(source: Source, rows: Any, where: Mapping[str, Any] | None) -> RowSet:
    chosen = RowSet.of(len(source), np.ones(len(source), bool))
    if rows is not None:
        chosen = source.where(rows)
    if where:
        chosen = source.where(chosen, **where)
    if not len(chosen):
        raise ValueError("no cell is chosen; rows= and where= leave none")
    return chosen
