"""Print the table of `docs/entropy.md`: entropy of the plate, from the plan alone.

The setting is that of Table 2 of the paper: 14 plates of 7 million cells, minibatches
of 64. The script reads no cell: the label of a row is its number divided by 7 million.

    python docs/benchmarks/entropy.py
"""

import argparse
import time
from itertools import islice

import numpy as np

import scdataset_core as scd
from scdataset_core.metrics import batch_entropies, expected_entropy, plan_labels

PLATES, PLATE_CELLS, BATCH_SIZE = 14, 7_000_000, 64

# Mean and standard deviation in the paper's Table 2, averaged over 8, 12 and 16
# workers, for block size and fetch factor.
PAPER = {
    (4, 4): (3.500, 0.110),
    (4, 8): (3.563, 0.093),
    (4, 16): (3.590, 0.083),
    (4, 32): (3.607, 0.080),
    (8, 4): (3.337, 0.157),
    (8, 8): (3.483, 0.120),
    (8, 16): (3.553, 0.097),
    (8, 32): (3.590, 0.083),
    (16, 4): (3.003, 0.227),
    (16, 8): (3.323, 0.160),
    (16, 16): (3.477, 0.120),
    (16, 32): (3.543, 0.100),
    (32, 4): (2.470, 0.273),
    (32, 8): (3.000, 0.223),
    (32, 16): (3.317, 0.160),
    (32, 32): (3.467, 0.123),
}


def main() -> None:
    """Compute every cell of the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minibatches", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    print(
        "| b | f | plan: mean ± std | theory: mean | paper: mean ± std | difference |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for (block_size, fetch_factor), (mean, std) in PAPER.items():
        strategy = scd.BlockShuffling(block_size)
        cells = range(PLATES * PLATE_CELLS)
        plan = scd.Plan(
            strategy.order(cells, seed=options.seed, epoch=0),
            batch_size=BATCH_SIZE,
            fetch_factor=fetch_factor,
        )
        labels = plan_labels(plan, lambda rows: rows // PLATE_CELLS)
        found = batch_entropies(islice(labels, options.minibatches))
        theory = expected_entropy(
            np.ones(PLATES),
            batch_size=BATCH_SIZE,
            block_size=block_size,
            fetch_factor=fetch_factor,
        )
        print(
            f"| {block_size} | {fetch_factor} | {found.mean():.3f} ± {found.std():.3f}"
            f" | {theory:.3f} | {mean:.3f} ± {std:.3f} | {found.mean() - mean:+.3f} |"
        )
    print(f"\n{options.minibatches:,} minibatches each, seed {options.seed},", end=" ")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
