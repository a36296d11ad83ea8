"""Count what storage-aligned blocks decode, by the chunks that they follow.

    python storage_blocks.py --data FOLDER --out results

The blocks could follow the chunks of the values, those of the column ids, or both. For
the row pointers of a plate of `make_plates.py` and the chunks of each layout, the
script counts the bytes that each way decodes for each byte that is used, if every block
is read alone. Nothing is timed. The chunks of float64 values are those that h5py
chooses for arrays of the plate's size: an id takes half the bytes of a value there, and
its chunks hold more of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from make_plates import make_plates
from report import table

from scdataset_core.tools.plate_layouts import LAYOUTS, choose_chunks

Integers = npt.NDArray[np.int64]
CHUNKS = (1, 2, 4)


class Grids(NamedTuple):
    """Elements in a chunk, and bytes of an element, of the values and of the ids."""

    values: int
    value_bytes: int
    ids: int
    id_bytes: int


def grids_of(n_stored: int) -> dict[str, Grids]:
    """Return the chunks of each layout, for a plate of so many counts."""
    found = {}
    for name, layout in LAYOUTS.items():
        n, ids = layout.elements or n_stored, np.dtype(layout.ids)
        values, columns = choose_chunks(np.dtype("f4"), n), choose_chunks(ids, n)
        found[name] = Grids(values[0], 4, columns[0], ids.itemsize)
    values = choose_chunks(np.dtype("f8"), n_stored)
    columns = choose_chunks(np.dtype("i4"), n_stored)
    found["float64 values"] = Grids(values[0], 8, columns[0], 4)
    return found


def firsts(pointers: Integers, chunk: int) -> Integers:
    """Return the first row that starts inside each chunk."""
    return np.flatnonzero(np.diff(pointers[:-1] // chunk, prepend=-1))


def boundaries(pointers: Integers, grids: Grids) -> dict[str, Integers]:
    """Return the first rows of blocks of one chunk, by what they follow."""
    values, ids = firsts(pointers, grids.values), firsts(pointers, grids.ids)
    return {"values": values, "ids": ids, "both": np.union1d(values, ids)}


def decoded_per_used(pointers: Integers, rows: Integers, grids: Grids) -> float:
    """Return the bytes decoded for each byte used, every block read alone."""
    start = pointers[rows]
    stop = pointers[np.append(rows[1:], len(pointers) - 1)]
    decoded = 0
    for chunk, n_bytes in (grids[:2], grids[2:]):
        n_chunks = (stop - 1) // chunk - start // chunk + 1
        decoded += int(n_chunks.sum()) * chunk * n_bytes
    return decoded / (int(pointers[-1]) * (grids.value_bytes + grids.id_bytes))


def count(pointers: Integers) -> list[list[str]]:
    """Return the rows of the table: a layout, what blocks follow, cells, and bytes."""
    rows = []
    for layout, grids in grids_of(int(pointers[-1])).items():
        for followed, starts in boundaries(pointers, grids).items():
            line = [layout, f"{grids.values:,} / {grids.ids:,}", followed]
            for chunks in CHUNKS:
                blocks = starts[::chunks]
                cells = (len(pointers) - 1) / len(blocks)
                ratio = decoded_per_used(pointers, blocks, grids)
                line.append(f"{ratio:.2f} ({cells:.0f} cells)")
            rows.append(line)
    return rows


def main() -> None:
    """Count, and write `storage_blocks.md`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the plates")
    parser.add_argument("--cells", type=int, default=50_000, help="of a plate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    options = parser.parse_args()
    make_plates(
        options.data,
        n_plates=1,
        n_cells=options.cells,
        n_genes=62_710,
        stored_per_cell=1_950,
        compressions=("gzip",),
        seed=0,
    )
    with h5py.File(options.data / "gzip" / "plate_00.h5ad") as file:
        pointers = file["X/indptr"][:].astype(np.int64)
    head = ["layout", "values / ids a chunk", "blocks follow"]
    chunks = [f"{n} chunk{'s' if n > 1 else ''}" for n in CHUNKS]
    text = table([*head, *chunks], count(pointers))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "storage_blocks.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
