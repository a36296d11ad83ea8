"""Plates with strong effects of the plate, on which the study trains its models.

Counts are Poisson. The logarithm of a gene's rate is the sum of a profile that all
cells share, an effect of the plate on every gene, and effects of the cell line and of
the drug on a few genes each, so that a model must see many plates at a time to tell a
line or a drug from a plate. A plate has 8 x 12 wells, which lie in the file one after
the other: a row is given one drug; a column is seeded with one cell line, of which one
cell in five has gone astray. The columns hold the lines in another order on each plate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from anndata import AnnData

N_DRUGS, N_LINES = 8, 12  # rows and columns of a plate
STRAY_SHARE = 0.2
DEPTH, DEPTH_SIGMA = 1_500, 0.35  # molecules of a cell, and their spread (log scale)
PROFILE_SIGMA = 1.5
PLATE_SIGMA = 0.7  # of the effect of a plate on every gene (log scale)
LINE_GENES, LINE_EFFECT = 40, np.log(2.5)
DRUG_GENES, DRUG_EFFECT = 30, np.log(2.0)


@dataclass(frozen=True)
class Effects:
    """Logarithms of rates, by gene."""

    profile: npt.NDArray[np.float64]
    plates: npt.NDArray[np.float64]
    lines: npt.NDArray[np.float64]
    drugs: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, n_plates: int, n_genes: int, *, seed: int) -> Effects:
        """Draw the effects of a screen."""
        rng = np.random.default_rng([seed, 0])

        def raise_some(n_labels: int, n_raised: int, by: float):  # type: ignore[no-untyped-def] # an array
            effects = np.zeros((n_labels, n_genes))
            for effect in effects:
                effect[rng.choice(n_genes, min(n_raised, n_genes), False)] = by
            return effects

        return cls(
            rng.normal(scale=PROFILE_SIGMA, size=n_genes),
            rng.normal(scale=PLATE_SIGMA, size=(n_plates, n_genes)),
            raise_some(N_LINES, LINE_GENES, float(LINE_EFFECT)),
            raise_some(N_DRUGS, DRUG_GENES, float(DRUG_EFFECT)),
        )


def make_plate(effects: Effects, plate: int, n_cells: int, *, seed: int) -> AnnData:
    """Return one plate of about `n_cells` cells, in the order of its wells."""
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng([seed, 1, plate])
    column, row = np.divmod(np.arange(N_LINES * N_DRUGS), N_DRUGS)
    well = np.repeat(np.arange(len(row)), max(1, n_cells // len(row)))
    drug, line = row[well], rng.permutation(N_LINES)[column[well]]
    stray = rng.random(len(well)) < STRAY_SHARE
    line[stray] = rng.integers(N_LINES, size=int(stray.sum()))
    log_rates = effects.profile + effects.plates[plate]
    rates = np.exp(log_rates + effects.lines[line] + effects.drugs[drug])
    rates /= rates.sum(axis=1, keepdims=True)
    rates *= rng.lognormal(np.log(DEPTH), DEPTH_SIGMA, (len(well), 1))
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    obs = pd.DataFrame(
        {
            "plate": pd.Categorical([f"plate{plate:02d}"] * len(well)),
            "cell_line": pd.Categorical.from_codes(
                line, [f"line{number:02d}" for number in range(N_LINES)]
            ),
            "drug": pd.Categorical.from_codes(
                drug, [f"drug{number}" for number in range(N_DRUGS)]
            ),
        },
        index=[f"{plate:02d}-{cell}" for cell in range(len(well))],
    )
    return AnnData(counts, obs=obs)


def write_plates(
    folder: Path, *, n_plates: int, n_cells: int, n_genes: int, seed: int = 0
) -> list[Path]:
    """Write plates of about `n_cells` cells each, gzip, and return their paths."""
    effects = Effects.draw(n_plates, n_genes, seed=seed)
    paths = [folder / f"plate{plate:02d}.h5ad" for plate in range(n_plates)]
    for plate, path in enumerate(paths):
        adata = make_plate(effects, plate, n_cells, seed=seed)
        adata.write_h5ad(path, compression="gzip")
    return paths
