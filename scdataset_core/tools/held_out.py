"""The split of the demo: labels as codes, cells to learn from and cells held out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..permutation import Purpose, derive_key, permute

if TYPE_CHECKING:
    from ..sources.base import Source

__all__ = ["Split", "make_split"]

HELD_OUT_SHARE = 0.1  # share of cells that are held out where no plate can be
HELD_OUT_MOST = 5_000
KNOWN_LEAST = 0.5  # share of a held-out plate's cells whose label other plates have
NUMBERS_MOST = 50  # different numbers that are taken for labels
WEIGHTS_MOST = 50_000_000  # weights of the classifier: 0.8 GB with Adam's averages

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The labels, the cells to learn from and the cells to test on.

    Attributes
    ----------
    codes
        The label of each cell of the source; −1 is missing.
    n_classes
        Number of labels.
    train, held_out
        Rows, each of a cell with a label.
    plate
        The file whose cells are held out, or None if they were drawn from all files.
    notes
        Remarks for the reader of the results.
    """

    codes: npt.NDArray[np.int64]
    n_classes: int
    train: Rows
    held_out: Rows
    plate: str | None
    notes: tuple[str, ...]


def make_split(source: Source, label: str, *, seed: int) -> Split:
    """Choose the cells of `source` to train on and those to hold out.

    The held-out cells are those of one plate, the last whose labels are on other plates
    too, so that a model is tested on a plate it has not seen. If there is no such
    plate, a tenth of all cells is drawn at random. Either way at most 5,000 cells are
    held out, and only of labels that are trained on.

    Raises
    ------
    ValueError
        If there is nothing to learn: too few cells with a label, one label only, or
        more than a linear model can hold.
    """
    codes, n_classes, notes = _encode_labels(source, label)
    labelled = np.flatnonzero(codes >= 0)
    if len(labelled) < 10:
        raise ValueError(
            f'at least 10 cells must have a label in "{label}", {len(labelled)} do'
        )
    if n_classes < 2:
        raise ValueError(f'all cells have the same label in "{label}"')
    if n_classes * source.shape[1] > WEIGHTS_MOST:
        most = WEIGHTS_MOST // source.shape[1]
        raise ValueError(
            f'"{label}" has {n_classes:,} labels; with {source.shape[1]:,} genes the'
            f" demo can learn {most:,}"
        )
    key = derive_key(seed, 0, Purpose.DRAWS)
    shuffled = labelled[permute(np.arange(len(labelled)), n=len(labelled), key=key)]
    plate = _choose_plate(source, codes, n_classes)
    if plate is None:
        n_held_out = min(int(len(labelled) * HELD_OUT_SHARE), HELD_OUT_MOST)
        held_out, train = shuffled[:n_held_out], shuffled[n_held_out:]
        one = len(source.file_starts) == 2
        why = "there is one plate" if one else "no plate has the labels of the others"
        notes.append(f"{why}: held-out cells were drawn from all plates")
    else:
        first, last = source.file_starts[plate : plate + 2]
        on_plate = (shuffled >= first) & (shuffled < last)
        held_out, train = shuffled[on_plate], shuffled[~on_plate]
    trained = np.bincount(codes[train], minlength=n_classes) > 0
    held_out = np.sort(held_out[trained[codes[held_out]]][:HELD_OUT_MOST])
    if not len(held_out):
        raise ValueError(f'no two cells have the same label in "{label}"')
    name = None if plate is None else Path(source.files[plate]).name
    return Split(codes, n_classes, np.sort(train), held_out, name, tuple(notes))


def _encode_labels(
    source: Source, label: str
) -> tuple[npt.NDArray[np.int64], int, list[str]]:
    """Return a code for each cell, from 0 on without gaps, their number and remarks."""
    values = source.obs[label]
    notes = []
    if label in source.categories:
        missing = values < 0
    else:
        missing = np.isnan(values) if values.dtype.kind == "f" else values != values
        if len(np.unique(values[~missing])) > NUMBERS_MOST:
            edges = np.quantile(values[~missing], [0.25, 0.5, 0.75])
            values = np.searchsorted(edges, values, side="right")
            notes.append(f"{label} holds numbers: its quarters are the labels")
    codes = np.full(len(values), -1, np.int64)
    found, codes[~missing] = np.unique(values[~missing], return_inverse=True)
    if n_missing := np.count_nonzero(missing):
        notes.append(f"{n_missing:,} cells without a label are left out")
    return codes, len(found), notes


def _choose_plate(
    source: Source, codes: npt.NDArray[Any], n_classes: int
) -> int | None:
    """Return the last file most of whose labels other files have too, or None."""
    starts = source.file_starts
    if len(starts) < 3 or len(source.files) != len(starts) - 1:
        return None
    counts = np.stack(
        [
            np.bincount(codes[a:b][codes[a:b] >= 0], minlength=n_classes)
            for a, b in pairwise(starts)
        ]
    )
    elsewhere = counts.sum(axis=0) - counts
    known = np.where(elsewhere > 0, counts, 0).sum(axis=1)
    several = np.count_nonzero(elsewhere, axis=1) > 1
    good = (known >= KNOWN_LEAST * counts.sum(axis=1)) & (known > 0) & several
    plates = np.flatnonzero(good)
    return int(plates[-1]) if len(plates) else None
