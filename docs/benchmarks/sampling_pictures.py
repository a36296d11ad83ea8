"""Draw which rows the first fetch and its minibatches hold, by strategy.

    python docs/benchmarks/sampling_pictures.py docs/figures

Each picture is an SVG of `docs/sampling.md`: above, the rows of the data in file order,
those of the fetch in full colour; below, the minibatches of the fetch. Every square is
a cell of a real plan of the library, coloured by the label that the page is about.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

import scdataset_core as scd

N_CELLS, BATCH_SIZE, FETCH_FACTOR, SET_SIZE = 96, 8, 3, 4
SEED = 3  # its first fetch of blocks meets all three plates
COLOURS = ("#2f6f9f", "#c2703d", "#5b8c5a", "#8661a8")
ROW, CELL = 6.5, 11  # widths of a row of the data, and of a cell of a minibatch
FILE_GAP, SET_GAP, BATCH_GAP = 6, 5, 26
N_FILES = 3
WIDTH = round(N_CELLS * ROW + (N_FILES - 1) * FILE_GAP)

Rows = npt.NDArray[np.int64]

# Three plates, one after the other; and three cell types, of 75, 18 and 3 cells.
PLATES = np.repeat([0, 1, 2], N_CELLS // N_FILES)
TYPES = np.random.default_rng(4).permutation(np.repeat([0, 1, 2], [75, 18, 3]))
# On each plate 8 wells of 4 cells: two of controls, and two of each of three drugs.
DRUGS = np.tile(np.repeat([0, 1, 2, 3, 0, 1, 2, 3], 4), N_FILES)


def squares(places: Sequence[tuple[float, int]], *, top: float, size: float) -> str:
    """Return squares as one path a colour; `places` are of (x, label)."""
    side = size - 1
    parts = []
    for label in sorted({label for _, label in places}):
        path = "".join(
            f"M{x:g} {top:g}h{side:g}v{side:g}h-{side:g}z"
            for x, other in places
            if other == label
        )
        parts.append(f'<path fill="{COLOURS[label]}" d="{path}"/>')
    return "".join(parts)


def draw(
    labels: npt.NDArray[Any], batches: Sequence[dict[str, Rows]], *, set_size: int
) -> str:
    """Return a picture of the minibatches of a fetch, and of where their rows lie."""
    x_of_row = np.arange(N_CELLS) * ROW + PLATES * FILE_GAP
    every = list(zip(x_of_row.tolist(), labels.tolist(), strict=True))
    read = np.unique(
        np.concatenate([rows for part in batches for rows in part.values()])
    )
    bottom, left = 62, 0.0
    captions, drawn = [], []
    for number, batch in enumerate(batches):
        captions.append(f'<text x="{left:g}" y="56">minibatch {number}</text>')
        places = np.arange(len(batch["cells"]))
        at = left + places * CELL + places // set_size * SET_GAP
        for line, rows in enumerate(batch.values()):
            cells = list(zip(at.tolist(), labels[rows].tolist(), strict=True))
            drawn.append(squares(cells, top=bottom + line * (CELL + 3), size=CELL))
        left = at[-1] + CELL + BATCH_GAP
    height = bottom + len(batches[0]) * (CELL + 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11"'
        ' fill="#777">\n'
        '<text x="0" y="11">the rows of three files; in full colour: the fetch</text>\n'
        f'<g opacity="0.2">{squares(every, top=17, size=ROW)}</g>\n'
        f"{squares([every[row] for row in read], top=17, size=ROW)}\n"
        f"{''.join(captions)}\n{''.join(drawn)}\n</svg>\n"
    )


def first_fetch(source: scd.Source, strategy: Any) -> list[dict[str, Rows]]:
    """Return the rows of the minibatches of the first fetch, and of their controls."""
    sizes = {"batch_size": BATCH_SIZE, "fetch_factor": FETCH_FACTOR}
    loader = scd.Loader(source, strategy, **sizes, seed=SEED)
    found = []
    for batch in islice(loader, FETCH_FACTOR):
        rows = {"cells": batch["index"]}
        if "control" in batch:
            rows["control"] = batch["control"]["index"]
        found.append(rows)
    return found


def make_source(start: int = 0, stop: int = N_CELLS) -> scd.Source:
    """Return some of the cells in memory, with plate and drug, and nothing in X."""
    import pandas as pd
    from anndata import AnnData

    rows = np.arange(start, stop)
    names = np.array(["control", "drug1", "drug2", "drug3"])
    obs = pd.DataFrame(
        {"plate": pd.Categorical(PLATES[rows].astype(str)), "drug": names[DRUGS[rows]]},
        index=rows.astype(str),
    )
    return scd.open(AnnData(np.zeros((len(rows), 1), np.float32), obs=obs), obs=True)


def write_chunked(path: Path) -> Path:
    """Write the cells with more and fewer counts, in chunks of 40 counts."""
    import h5py
    import scipy.sparse as sp
    from anndata import AnnData

    n_counts = np.random.default_rng(1).integers(4, 20, N_CELLS)
    X = sp.csr_matrix(np.arange(20) < n_counts[:, None], dtype=np.float32)
    AnnData(X).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in ("X/data", "X/indices"):
            values = file[name][:]
            del file[name]
            file.create_dataset(name, data=values, chunks=(40,), compression="gzip")
    return path


def pictures(folder: Path) -> dict[str, tuple[npt.NDArray[Any], scd.Source, Any]]:
    """Return the labels, the source and the strategy of each picture.

    Parameters
    ----------
    folder
        Where a file may be written.
    """
    source = make_source()
    chunked = scd.open(write_chunked(folder / "chunked.h5ad"))
    kept = scd.RowSet.of(N_CELLS, PLATES != 1)
    weights = scd.class_weights(TYPES, power=0.5)
    groups = scd.GroupSampling(
        "drug", SET_SIZE, control={"drug": "control"}, match="plate"
    )
    parts = [make_source(0, 32), make_source(32, N_CELLS)]
    blocks = [scd.BlockShuffling(4), scd.BlockShuffling(4)]
    return {
        "streaming": (PLATES, source, scd.Streaming()),
        "random": (PLATES, source, scd.BlockShuffling(1)),
        "blocks": (PLATES, source, scd.BlockShuffling(4)),
        "storage": (PLATES, chunked, scd.BlockShuffling("storage")),
        "rows": (PLATES, source, scd.BlockShuffling(4, kept)),
        "strata": (PLATES, source, scd.BlockShuffling(4, stratify=PLATES)),
        "balanced": (TYPES, source, scd.ClassBalancedSampling(TYPES, 2)),
        "weighted": (TYPES, source, scd.BlockWeightedSampling(2, weights=weights)),
        "groups": (DRUGS, source, groups),
        "mixture": (PLATES, *scd.mix(parts, [0.5, 0.5], strategies=blocks)),
    }


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        for name, (labels, source, strategy) in pictures(Path(folder)).items():
            set_size = getattr(strategy, "set_size", BATCH_SIZE)
            text = draw(labels, first_fetch(source, strategy), set_size=set_size)
            path = options.folder / f"sampling-{name}.svg"
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
