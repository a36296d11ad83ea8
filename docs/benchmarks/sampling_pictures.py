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
from typing import Any

import numpy as np
import numpy.typing as npt

import scdataset_core as scd

N_CELLS, BATCH_SIZE, FETCH_FACTOR = 96, 8, 3
SEED = 3  # its first fetch of blocks meets all three plates
COLOURS = ("#2f6f9f", "#c2703d", "#5b8c5a", "#8661a8")
ROW, CELL, GAP = 6.5, 11, 26  # widths of a row, of a cell, between minibatches
WIDTH = round(N_CELLS * ROW)

Rows = npt.NDArray[np.int64]

# Three plates, one after the other; and three cell types, of 75, 18 and 3 cells.
PLATES = np.repeat([0, 1, 2], 32)
TYPES = np.random.default_rng(4).permutation(np.repeat([0, 1, 2], [75, 18, 3]))


def squares(places: Sequence[tuple[float, int]], *, top: float, size: float) -> str:
    """Return squares as one path a colour; `places` are of (x, label)."""
    parts = []
    for label in sorted({label for _, label in places}):
        side = size - 1
        path = "".join(
            f"M{x:g} {top:g}h{side:g}v{side:g}h-{side:g}z"
            for x, other in places
            if other == label
        )
        parts.append(f'<path fill="{COLOURS[label]}" d="{path}"/>')
    return "".join(parts)


def draw(labels: npt.NDArray[Any], batches: Sequence[Rows], path: Path) -> None:
    """Draw the minibatches of a fetch, and where in the file their rows lie."""
    every = [(row * ROW, int(label)) for row, label in enumerate(labels)]
    chosen = [every[row] for row in np.unique(np.concatenate(batches))]
    left = 0.0
    drawn, captions = [], []
    for number, batch in enumerate(batches):
        captions.append(f'<text x="{left:g}" y="56">minibatch {number}</text>')
        cells = [
            (left + place * CELL, int(labels[row])) for place, row in enumerate(batch)
        ]
        drawn.append(squares(cells, top=62, size=CELL))
        left += len(batch) * CELL + GAP
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 76"'
        f' width="{WIDTH}" height="76" font-family="sans-serif" font-size="11"'
        ' fill="#777">\n'
        '<text x="0" y="11">the rows in file order; in full colour: the fetch</text>\n'
        f'<g opacity="0.2">{squares(every, top=17, size=ROW)}</g>\n'
        f"{squares(chosen, top=17, size=ROW)}\n"
        f"{''.join(captions)}\n{''.join(drawn)}\n</svg>\n",
        encoding="utf-8",
    )


def first_fetch(strategy: Any) -> list[Rows]:
    """Return the rows of the minibatches of the first fetch."""
    sizes = {"batch_size": BATCH_SIZE, "fetch_factor": FETCH_FACTOR}
    loader = scd.Loader(np.arange(N_CELLS), strategy, **sizes, seed=SEED)
    return list(islice(loader, FETCH_FACTOR))


def pictures() -> dict[str, tuple[npt.NDArray[Any], Any]]:
    """Return the labels and the strategy of each picture."""
    kept = scd.RowSet.of(N_CELLS, PLATES != 1)
    return {
        "streaming": (PLATES, scd.Streaming()),
        "random": (PLATES, scd.BlockShuffling(1)),
        "blocks": (PLATES, scd.BlockShuffling(4)),
        "rows": (PLATES, scd.BlockShuffling(4, kept)),
        "strata": (PLATES, scd.BlockShuffling(4, stratify=PLATES)),
        "balanced": (TYPES, scd.ClassBalancedSampling(TYPES, 2)),
    }


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    for name, (labels, strategy) in pictures().items():
        draw(labels, first_fetch(strategy), options.folder / f"sampling-{name}.svg")


if __name__ == "__main__":
    main()
