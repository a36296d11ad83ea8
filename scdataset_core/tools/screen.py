"""The screen that synthetic plates come from: its genes, wells and cells.

A cell is a number of molecules, each drawn from a skewed gene profile, or, for a
small share of them, from the genes that its cell line or its drug raises. A count is
how often a gene was drawn, so counts are skewed, sparse and as noisy as real ones,
and both labels can be learned from them. Each plate has a profile of its own, as
plates that were handled on different days do.

Cells lie as an experiment leaves them. A file is a plate of 16 x 24 wells. A column of
the plate is seeded with one cell line, a row is given one drug, and the wells were
written column by column: neighbours in the file are mostly of one line. One cell in
five is of any line. All plates hold the same lines and drugs, in columns of another
order. Reading in file order therefore shows a model one line after the other.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["N_DRUGS", "N_LINES", "WELL_COLUMNS", "WELL_ROWS", "Plate", "Screen"]

WELL_ROWS = N_DRUGS = 16
WELL_COLUMNS = N_LINES = 24
STRAY_SHARE = 0.2  # share of cells of another line than the well was seeded with
LINE_SHARE = 0.01  # share of a cell's molecules from the genes that its line raises
DRUG_SHARE = 0.02
RAISED_GENES = 60  # genes that a line, or a drug, raises
DEPTH_SIGMA = 0.35  # deviation of the logarithm of a cell's number of molecules
PROFILE_SIGMA = 2.0  # deviation of the logarithm of a gene's weight
PLATE_SIGMA = 0.3  # deviation of the logarithm of a plate's effect on that weight
PROFILE_SLOTS = 1 << 20
N_COMPONENTS = 10
PIECE_COUNTS = 1 << 19  # stored counts drawn and written at a time; Ctrl-C waits for it

Counts = npt.NDArray[np.int64]


class Screen:
    """The genes and effects that all plates of a seed have in common.

    Parameters
    ----------
    seed
        Another seed gives other genes, labels and counts.
    n_genes
        Genes of every plate.
    stored_per_cell
        Mean number of genes with a count above zero in a cell.

    Attributes
    ----------
    raised
        Whether a line or a drug raises a gene, shape ``(n_genes,)``.
    """

    def __init__(self, seed: int, n_genes: int, stored_per_cell: int) -> None:
        self.seed = seed
        self.n_genes = n_genes
        self.stored_per_cell = stored_per_cell
        rng = np.random.default_rng([seed, 0])
        self.weights = rng.lognormal(sigma=PROFILE_SIGMA, size=n_genes)
        self.weights /= self.weights.sum()
        # Raised genes are not the strongest ones, so that a label shows in many small
        # counts; nor are they the silent ones.
        by_weight = np.argsort(self.weights)
        pool = by_weight[n_genes // 4 : max(n_genes - n_genes // 50, 3)]
        size = min(RAISED_GENES, len(pool))
        labels = range(N_LINES + N_DRUGS)
        drawn = [rng.choice(pool, size, replace=False) for _ in labels]
        self.by_line, self.by_drug = np.split(
            np.stack(drawn, dtype=np.int32), [N_LINES]
        )
        self.raised = np.zeros(n_genes, bool)
        self.raised[drawn] = True
        share = self.weights * (1 - LINE_SHARE - DRUG_SHARE)
        share[self.by_line[0]] += LINE_SHARE / size
        share[self.by_drug[0]] += DRUG_SHARE / size
        self.depth = _find_depth(stored_per_cell, share)
        self.line_centres = 3 * rng.normal(size=(N_LINES, N_COMPONENTS))
        self.drug_centres = rng.normal(size=(N_DRUGS, N_COMPONENTS))

    def plate(self, number: int, n_cells: int) -> Plate:
        """Return plate `number`, from 1 on, with `n_cells` cells in its wells."""
        return Plate(self, number, n_cells)


class Plate:
    """One plate: the labels of its cells, in the order they lie in the file.

    Attributes
    ----------
    line, drug, well
        Codes, shape ``(n_cells,)``.
    components
        Made-up leading principal components, float32, shape ``(n_cells, 10)``: a
        centre for each line and drug, and noise.
    """

    def __init__(self, screen: Screen, number: int, n_cells: int) -> None:
        self._screen = screen
        self._key = (screen.seed, number)
        rng = np.random.default_rng(self._key)
        n_wells = WELL_ROWS * WELL_COLUMNS
        fill = rng.lognormal(sigma=0.3, size=n_wells)
        filled = rng.multinomial(n_cells, fill / fill.sum())
        self.well: Counts = np.repeat(np.arange(n_wells), filled)
        column, self.drug = np.divmod(self.well, WELL_ROWS)  # row A is the control
        self.line: Counts = rng.permutation(N_LINES)[column]
        stray = rng.random(n_cells) < STRAY_SHARE
        self.line[stray] = rng.integers(N_LINES, size=int(stray.sum()))
        centres = screen.line_centres[self.line] + screen.drug_centres[self.drug]
        noise = rng.normal(size=centres.shape) + rng.normal(size=N_COMPONENTS) / 2
        self.components = (centres + noise).astype(np.float32)
        weights = screen.weights * rng.lognormal(sigma=PLATE_SIGMA, size=screen.n_genes)
        slots = (np.arange(PROFILE_SLOTS) + 0.5) / PROFILE_SLOTS
        profile = np.searchsorted(np.cumsum(weights / weights.sum()), slots)
        # A gene has a share of the slots that is its weight.
        self._profile = profile.clip(max=screen.n_genes - 1).astype(np.int32)

    def counts(self) -> Generator[csr_matrix, None, None]:
        """Yield pieces of X, each of a seed of its own; draw the next one meanwhile."""
        piece_rows = max(1, PIECE_COUNTS // self._screen.stored_per_cell)
        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for number, start in enumerate(range(0, len(self.line), piece_rows)):
                rng = np.random.default_rng([*self._key, number])
                part = slice(start, start + piece_rows)
                task = pool.submit(self._draw, rng, self.line[part], self.drug[part])
                if ahead is not None:
                    yield ahead.result()
                ahead = task
            if ahead is not None:
                yield ahead.result()

    def _draw(self, rng: np.random.Generator, line: Counts, drug: Counts) -> csr_matrix:
        """Draw the molecules of some cells and count them by gene."""
        from scipy.sparse import csr_matrix

        screen, n = self._screen, len(line)
        depth = screen.depth * rng.lognormal(sigma=DEPTH_SIGMA, size=n)
        of_line = rng.poisson(depth * LINE_SHARE)
        of_drug = rng.poisson(depth * DRUG_SHARE)
        of_none = rng.poisson(depth * (1 - LINE_SHARE - DRUG_SHARE))
        # Each (cell, gene) is one number, so that sorting brings equal ones together.
        # Numbers of half the bytes are sorted twice as fast.
        key = np.int32 if n * screen.n_genes < 2**31 else np.int64
        base = (np.arange(n + 1) * screen.n_genes).astype(key)
        slot = rng.integers(PROFILE_SLOTS, size=int(of_none.sum()), dtype=np.uint32)
        keys = np.concatenate(
            [
                np.repeat(base[:-1], of_none) + self._profile[slot],
                _draw_raised(rng, screen.by_line, line, of_line, base),
                _draw_raised(rng, screen.by_drug, drug, of_drug, base),
            ]
        )
        keys.sort()
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts = np.diff(first, append=len(keys)).astype(np.float32)
        keys = keys[first]
        indptr = np.searchsorted(keys, base).astype(np.int32)
        indices = (keys - np.repeat(base[:-1], np.diff(indptr))).astype(np.int32)
        return csr_matrix((counts, indices, indptr), shape=(n, screen.n_genes))


def _find_depth(stored: int, share: npt.NDArray[np.float64]) -> float:
    """Return the median number of molecules for a mean of `stored` genes drawn."""
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(5)
    spread = np.exp(DEPTH_SIGMA * nodes)[:, None]
    node_weights = node_weights / node_weights.sum()
    low, high = 1.0, 1e9
    while high > low * 1.001:
        depth = (low * high) ** 0.5
        genes_drawn = -np.expm1(-depth * spread * share).sum(axis=1)
        low, high = (
            (depth, high) if node_weights @ genes_drawn < stored else (low, depth)
        )
    return low


def _draw_raised(
    rng: np.random.Generator,
    raised: npt.NDArray[np.int32],
    label: Counts,
    molecules: Counts,
    base: npt.NDArray[Any],  # int32 or int64
) -> npt.NDArray[Any]:
    """Draw each cell's molecules evenly from the genes that its label raises."""
    pick = rng.integers(raised.shape[1], size=int(molecules.sum()))
    keys: npt.NDArray[Any] = np.repeat(base[:-1], molecules)
    keys += raised[np.repeat(label, molecules), pick]
    return keys
