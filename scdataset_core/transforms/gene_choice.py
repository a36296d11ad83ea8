"""A fixed number of genes of each cell."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..checks import check_count, check_seed
from ..permutation import Purpose
from .hook import Hook, RowsOfBatch
from .layouts import Entries, check_columns, count_columns, find_entries
from .random_entries import keep_random
from .row_order import find_row_order
from .zero_genes import draw_zeros

__all__ = ["choose_genes"]

How = Literal["top", "random", "expressed_then_zero"]
_HOW = ("top", "random", "expressed_then_zero")


def choose_genes(
    length: int,
    how: How = "top",
    seed: int = 0,
    *,
    n_vars: int | None = None,
    x: str | None = None,
) -> Hook:
    """Return a hook that keeps at most `length` genes of each cell.

    Parameters
    ----------
    length
        Columns of the result.
    how
        Which genes are kept. ``"top"``: those with the largest values, the largest
        first; of equal ones those that come first among the columns. ``"random"``:
        any of those that are expressed, in the order of the columns.
        ``"expressed_then_zero"``: as ``"random"``, and where fewer are expressed, genes
        that are not come after them, drawn at random, so that every row is full if
        there are `length` genes.
    seed
        Key of the randomness, with epoch and global row.
    n_vars
        Number of genes, ``source.shape[1]``. Only ``"expressed_then_zero"`` of padded
        rows of a minibatch needs it.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded,
        and becomes ``{"indices", "values", "length"}`` as padded rows are: columns
        (int32) and values ``(n_rows, length)``, 0 beyond the `length` (int32) of each
        row. Values keep their type. A filled row (``index`` -1) has length 0.

    Raises
    ------
    TypeError, ValueError
        If `length` is not an integer of at least 1, or `how` is none of the three.

    Notes
    -----
    The three are those of scDataLoader's ``Collator`` (``how="most expr"``,
    ``"random expr"``, and that with ``add_zero_genes``), Kalfon et al., "scPRINT:
    pre-training on 50 million cells allows robust gene network predictions", Nature
    Communications 2025. scGPT's ``DataCollator`` samples as ``"random"`` does.

    Examples
    --------
    >>> chosen = choose_genes(2)(np.array([[1, 0, 5, 5], [0, 3, 0, 0]]))
    >>> chosen["indices"].tolist(), chosen["values"].tolist(), chosen["length"].tolist()
    ([[2, 3], [1, 0]], [[5, 5], [3, 0]], [2, 1])
    """
    check_count("length", length)
    if how not in _HOW:
        names = ", ".join(f'"{name}"' for name in _HOW)
        raise ValueError(f"choose_genes: how must be one of {names}, got {how!r}")
    check_seed(seed)
    if n_vars is not None:
        check_count("n_vars", n_vars)
    return _ChooseGenes(x, int(length), how, int(seed), n_vars)


@dataclass(frozen=True, repr=False)
class _ChooseGenes(Hook):
    name = "choose_genes"
    length: int
    how: How
    seed: int
    n_vars: int | None

    def check_genes(self, n_vars: int) -> None:
        count_columns({}, self.n_vars, n_vars)

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        entries = find_entries(x).in_column_order()
        if self.how == "top":
            return self._write(_order(entries), None)
        keys = rows.keys(seed=self.seed, purpose=Purpose.CHOSEN_GENES)
        chosen = keep_random(entries, keys, self.length)
        if self.how == "random":
            return self._write(chosen, None)
        n_vars = count_columns(x, self.n_vars, rows.n_vars)
        check_columns(entries.columns, n_vars)
        keys = rows.keys(seed=self.seed, purpose=Purpose.ZERO_GENES)
        wanted = np.maximum(np.minimum(self.length, n_vars) - entries.lengths, 0)
        wanted[np.asarray(rows.index) < 0] = 0
        zeros = draw_zeros(entries, keys, wanted, n_vars)
        return self._write(chosen, zeros)

    def _write(
        self, chosen: Entries, zeros: list[npt.NDArray[np.int64]] | None
    ) -> dict[str, npt.NDArray[Any]]:
        """Lay the genes of each row out, those that are not expressed last."""
        lengths = np.minimum(chosen.lengths, self.length)
        indices = np.zeros((len(lengths), self.length), np.int32)
        values = np.zeros(indices.shape, chosen.values.dtype)
        starts = chosen.starts.tolist()
        for row, n in enumerate(lengths.tolist()):
            start = starts[row]
            indices[row, :n] = chosen.columns[start : start + n]
            values[row, :n] = chosen.values[start : start + n]
            if zeros is not None:
                indices[row, n : n + len(zeros[row])] = zeros[row]
        if zeros is not None:
            lengths = lengths + [len(some) for some in zeros]
        length = lengths.astype(np.int32)
        return {"indices": indices, "values": values, "length": length}


def _order(entries: Entries) -> Entries:
    """Return the entries of each row, the largest value first."""
    values = entries.values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError("X has NaN, and genes are chosen by their values")
    order = find_row_order(values, entries.starts)
    return Entries(entries.values[order], entries.columns[order], entries.starts)
