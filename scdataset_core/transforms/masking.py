"""Values hidden from a model, which learns to predict them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_number, check_seed
from ..permutation import Purpose
from .hook import Hook, RowsOfBatch
from .layouts import add_up_repeats, find_entries, is_padded, put_entries
from .random_entries import mark_random

__all__ = ["mask_values"]


def mask_values(
    ratio: float, seed: int = 0, *, mask_value: float = -1, x: str | None = None
) -> Hook:
    """Return a hook that hides a share of the values of each cell.

    Of the `n` entries of a cell, ``int(n * ratio)`` are drawn without replacement and
    become `mask_value`. Entries are the values that are not zero; of padded rows they
    are the values within the length, so that zeros which `choose_genes` has chosen can
    be hidden too.

    Parameters
    ----------
    ratio
        Share of the entries to hide, from 0 to 1.
    seed
        Key of the randomness, with epoch, global row and column: the same genes of a
        cell are hidden for any number of workers and any layout, and others in another
        epoch.
    mask_value
        What hidden values become; -1 as in scGPT.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded
        and keeps its layout. ``batch["target"]`` is X as it was, without a copy. Values
        keep their type where it holds `mask_value`, and take a wider one where not.

    Raises
    ------
    ValueError
        If `ratio` is not from 0 to 1.

    Notes
    -----
    Cui et al., "scGPT: toward building a foundation model for single-cell multi-omics
    using generative AI", Nature Methods 2024; ``random_mask_value`` in
    ``scgpt/tokenizer/gene_tokenizer.py`` of its code.

    Examples
    --------
    Half of the four values that are not zero are hidden:

    >>> batch = {"X": np.array([[3, 0, 1, 4, 2]]), "index": np.array([7])}
    >>> masked = mask_values(0.5)(batch)
    >>> int((masked["X"] == -1).sum()), masked["target"].tolist()
    (2, [[3, 0, 1, 4, 2]])
    """
    check_number("ratio", ratio)
    if not 0 <= ratio <= 1:
        raise ValueError(f"mask_values: ratio must be from 0 to 1, got {ratio}")
    check_seed(seed)
    check_number("mask_value", mask_value)
    return _MaskValues(x, float(ratio), int(seed), mask_value)


@dataclass(frozen=True, repr=False)
class _MaskValues(Hook):
    name = "mask_values"
    keeps = "target"
    ratio: float
    seed: int
    mask_value: float

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        x = add_up_repeats(x)
        stored = find_entries(x, zeros=True)
        counted = np.ones(len(stored.values), bool)
        if not is_padded(x):  # a zero that CSR stores is a zero
            counted = stored.values != 0
        entries = stored.keep(counted)
        keys = rows.keys(seed=self.seed, purpose=Purpose.MASKED_GENES)
        wanted = (entries.lengths * self.ratio).astype(np.int64)
        hidden = np.zeros(len(stored.values), bool)
        hidden[counted] = mark_random(entries, keys, wanted)
        dtype = _wide_enough(stored.values.dtype, self.mask_value)
        values = stored.values.astype(dtype)  # a copy
        values[hidden] = self.mask_value
        return put_entries(x, stored, values)


def _wide_enough(dtype: np.dtype[Any], value: float) -> np.dtype[Any]:
    """Return a type that holds values of type `dtype` and `value`."""
    if dtype.kind == "f":
        return dtype
    if value != int(value):
        return np.promote_types(dtype, np.float32)
    return np.promote_types(dtype, np.min_scalar_type(int(value)))
