"""Writes chosen cells of a source to an `.h5ad` file, from where a run was killed."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import digest
from ..fetch_memory import RowMemory, find_batch_size
from ..loader import Loader
from ..row_sets import RowSet
from ..sources import Source
from ..strategies import BlockShuffling, Streaming
from .narrow_file import ArrayWriter, MatrixWriter, kind_of_rows
from .resumable_file import ResumableFile
from .rewritten_tables import make_obs, make_var

if TYPE_CHECKING:
    import h5py

__all__ = ["Rewriting"]

# Rows are read and written so many at a time, or fewer where memory is short.
PIECE_ROWS = 4096
# So many rows, from everywhere, say which types are narrow enough.
SAMPLED_ROWS = 2048
BLOCK_SIZE = 16
# Where the order of the cells is while the file is written.
_ORDER, _ORDER_ROWS = "order of cells", 1 << 12


class Rewriting:
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
    n_resumed : int
        Cells that a run which was killed had written.
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
        self.n_resumed = 0

    @property
    def key(self) -> str | None:
        """What the file is made from, and how; None if that may change unnoticed."""
        reopened = self._source.reopened
        recipe = None if reopened is None else reopened.find_recipe(self._source)
        if recipe is None:
            return None
        how = [self._compression, self.places, self._source.obs_columns]
        state = self._loader.fresh().state_dict()
        facts = [recipe, self._source.fingerprint, how, state]
        return digest(np.frombuffer(json.dumps(facts).encode(), np.uint8))

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

    def write(self, disk: ResumableFile) -> None:
        """Write everything; return early where the disk fails."""
        import h5py

        if disk.facts is not None and not _is_sound(disk, disk.facts["n_cells"]):
            disk.restart()
        with h5py.File(disk, "w" if disk.facts is None else "r+") as file:
            if not self._write_cells(file, disk):
                return
            self._write_tables(file)

    def _write_cells(self, file: "h5py.File", disk: ResumableFile) -> bool:
        """Write the matrices; return whether all of them could be written."""
        known, loader = disk.facts, self._loader.fresh()
        if known is not None:
            self.kinds = known["kinds"]
            loader.load_state_dict(known["loader"])
            loader.set_epoch(0)  # after the last cell it would begin the next one
        writers = self._begin(file, {} if known is None else known["crcs"])
        order = ArrayWriter(
            file,
            _ORDER,
            np.dtype(np.int64),
            rows=_ORDER_ROWS,
            compression=None,
            crc=None if known is None else known["order"],
        )
        self.n_resumed = len(order.data)
        for batch in loader:
            found = batch["X"]
            by_name = found if isinstance(found, dict) else {"X": found}
            for name, writer in writers.items():
                writer.append(by_name[name])
            order.append(batch["index"])
            if disk.failed:
                return False
            if self._progress is not None:
                self._progress("write", len(order.data), len(self._rows))
            if disk.is_due:
                file.flush()
                crcs = {name: writer.crcs for name, writer in writers.items()}
                facts = {"kinds": self.kinds, "crcs": crcs, "order": order.crc}
                facts |= {"loader": loader.state_dict(), "n_cells": len(order.data)}
                disk.checkpoint(facts)
        for writer in writers.values():
            writer.finish()
        order.check()
        self.types = [
            {"name": self.places[name], "dtype": str(writer.dtype), "ids": writer.ids}
            for name, writer in writers.items()
        ]
        return True

    def _write_tables(self, file: "h5py.File") -> None:
        """Write what stands beside the matrices."""
        from anndata.io import write_elem

        index = file[_ORDER][...]
        del file[_ORDER]
        write_elem(file, "obs", make_obs(self._source, index))
        write_elem(file, "var", make_var(self.genes_of))
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            if name not in file:
                write_elem(file, name, {})
            else:
                file[name].attrs.update(
                    {"encoding-type": "dict", "encoding-version": "0.1.0"}
                )

    def _begin(
        self, file: "h5py.File", crcs: dict[str, list[int]]
    ) -> dict[str, MatrixWriter]:
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
                crcs=crcs.get(name),
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


def _is_sound(disk: ResumableFile, n_cells: int) -> bool:
    """Return whether a file that was found can be read, and holds so many cells."""
    import h5py

    with suppress(Exception), h5py.File(disk, "r") as file:
        return len(file[_ORDER]) == n_cells
    return False
