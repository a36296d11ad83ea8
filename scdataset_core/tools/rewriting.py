"""Rewrites files for sets that will be read for months: narrow, joined, shuffled."""

import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..fetch_memory import RowMemory, find_batch_size
from ..loader import Loader
from ..row_sets import RowSet
from ..sources import Source
from ..sources import open as open_source
from ..storage.remote.urls import is_url
from ..strategies import BlockShuffling, Streaming
from .arguments import StorageOptions, refuse_options
from .cluster import names_cluster
from .narrow_file import MatrixWriter, TooNarrowError, kind_of_rows
from .rewriting_each import rewrite_each
from .rewritten_tables import find_left_out, make_obs, make_var
from .safe_file import DiskFile, write_whole
from .verification import verify

if TYPE_CHECKING:
    import h5py

__all__ = ["rewrite"]

# Rows are read and written so many at a time, or fewer where memory is short.
PIECE_ROWS = 4096
# So many rows, from everywhere, say which types are narrow enough.
SAMPLED_ROWS = 2048
BLOCK_SIZE = 16


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
    written. Whatever happens before, there is no half file; a later run removes what a
    killed one left.

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
        Plain data: ``file``, ``cells``, ``genes``, ``bytes``, ``seconds``;
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
        If no cell is chosen, an option is not one of those above, or says how to open
        what is open already.
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
    if any(_is_same(target, file) for file in source.files):
        raise FileExistsError(17, "the file is one of those that are read", str(target))
    if target.exists() and not overwrite:
        raise FileExistsError(
            17,
            "the file is there already; choose another, or overwrite it",
            str(target),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_left_over(target)
    chosen = _choose_rows(source, rows, where)
    job = _Rewriting(
        source, chosen, shuffle, seed, compression, memory, threads, progress
    )
    while True:
        try:
            write_whole(target, job.write)
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


def remove_left_over(target: Path) -> None:
    """Remove the unfinished files that runs which were killed left beside `target`."""
    pattern = re.compile(re.escape(target.name) + r"\.(\d+)\.partial")
    for path in target.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _choose_rows(source: Source, rows: Any, where: Mapping[str, Any] | None) -> RowSet:
    chosen = RowSet.of(len(source), np.ones(len(source), bool))
    if rows is not None:
        chosen = source.where(rows)
    if where:
        chosen = source.where(chosen, **where)
    if not len(chosen):
        raise ValueError("no cell is chosen; rows= and where= leave none")
    return chosen


class _Rewriting:
    """Writes chosen cells to a file.

    Attributes
    ----------
    kinds : dict of str to int
        The narrow type of the values of each matrix.
    types : list of dict
        The types that were written, for the report.
    places : dict of str to str
        Where each matrix goes in the file.
    genes_of : Source
        The part whose genes are those of the file.
    """

    def __init__(
        self,
        source: Source,
        rows: RowSet,
        shuffle: bool,
        seed: int,
        compression: str | None,
        memory: int | str,
        threads: int | None,
        progress: Callable[[str, int, int], object] | None,
    ) -> None:
        self._source, self._rows = source, rows
        self._compression, self._progress = compression, progress
        order = Streaming(indices=rows)
        row = RowMemory.of(source, source.stored_form)
        batch_size = find_batch_size(memory, row, most=min(PIECE_ROWS, len(source)))
        self._loader = Loader(
            source,
            BlockShuffling(BLOCK_SIZE, indices=rows) if shuffle else order,
            batch_size=batch_size,
            memory=memory,
            seed=seed,
            threads=threads,
        )
        self._parts = dict(source.parts) or {"X": source}
        self.places = _places_of(list(self._parts))
        self._check_genes()
        self.genes_of = next(
            part for name, part in self._parts.items() if self.places[name] == "X"
        )
        self.kinds = self._sample()
        self.types: list[dict[str, Any]] = []

    def _check_genes(self) -> None:
        """Raise ValueError if X and layers are not of the same genes."""
        first, *others = (
            name for name in self._parts if not self.places[name].startswith("obsm/")
        )
        genes = self._parts[first].var_names
        file = f"{self._source.files[0]}: " if self._source.files else ""
        for other in others:
            if not np.array_equal(self._parts[other].var_names, genes):
                raise ValueError(
                    f"{file}{other} has other genes than {first},"
                    " and an .h5ad file has one list of genes; write them to a file"
                    ' each, with x= or, of MuData, mdata["NAME"].write_h5ad(path)'
                )

    def _sample(self) -> dict[str, int]:
        """Return the narrow types that some rows from everywhere need."""
        n = min(len(self._rows), SAMPLED_ROWS)
        places = np.unique(np.linspace(0, len(self._rows) - 1, n).astype(np.int64))
        found = self._source.read(self._rows[places])["X"]
        by_name = found if isinstance(found, dict) else {"X": found}
        return {self.places[name]: kind_of_rows(by_name[name]) for name in self._parts}

    def write(self, disk: DiskFile) -> None:
        """Write everything; return early where the disk fails."""
        import h5py
        from anndata.io import write_elem

        total, done = len(self._rows), 0
        order = []
        with h5py.File(disk, "w") as file:
            writers = self._begin(file)
            for batch in self._loader.fresh():
                found = batch["X"]
                by_name = found if isinstance(found, dict) else {"X": found}
                for name, writer in writers.items():
                    writer.append(by_name[name])
                if disk.failed:
                    return
                order.append(batch["index"])
                done += len(batch["index"])
                if self._progress is not None:
                    self._progress("write", done, total)
            for writer in writers.values():
                writer.finish()
            index = np.concatenate(order)
            write_elem(file, "obs", make_obs(self._source, index))
            write_elem(file, "var", make_var(self.genes_of))
            for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
                if name not in file:
                    write_elem(file, name, {})
                else:
                    file[name].attrs.update(
                        {"encoding-type": "dict", "encoding-version": "0.1.0"}
                    )
        self.types = [
            {"name": self.places[name], "dtype": str(writer.dtype), "ids": writer.ids}
            for name, writer in writers.items()
        ]

    def _begin(self, file: "h5py.File") -> dict[str, MatrixWriter]:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        return {
            name: MatrixWriter(
                file,
                self.places[name],
                sparse=part.sparse,
                dtype=part.dtype,
                n_columns=part.shape[1],
                kind=self.kinds[self.places[name]],
                compression=self._compression,
            )
            for name, part in self._parts.items()
        }


def _places_of(names: Sequence[str]) -> dict[str, str]:
    """Return where each matrix goes in the file."""
    places = {}
    for name in names:
        inside = name.startswith(("layers/", "obsm/")) or name == "X"
        places[name] = name if inside else f"layers/{name.replace('/', '_')}"
    if "X" not in places.values():
        places[names[0]] = "X"
    return places
