"""Tokens of the genes of a cell, in the order of how much they stand out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_count
from ..errors import nearest
from .gene_numbers import align_genes, check_order
from .hook import Hook, RowsOfBatch
from .layouts import Entries, check_columns, check_counts, find_entries, get_values
from .row_order import find_row_order

__all__ = ["rank_tokens"]

_SPECIAL = ("pad", "cls", "eos")


def rank_tokens(
    gene_tokens: npt.ArrayLike | Mapping[str, int],
    medians: npt.ArrayLike | Mapping[str, float],
    length: int | None = 2048,
    special: Mapping[str, int] | None = None,
    *,
    var_names: npt.ArrayLike | None = None,
    x: str | None = None,
) -> Hook:
    """Return a hook that makes of each cell the tokens of its genes, ranked.

    It is Geneformer's encoding. Each count is divided by the total of its cell and by
    the gene's median over a corpus; the tokens of the genes that are expressed come in
    falling order of that, and the first `length` are kept. The total is over all genes
    of the cell, also those without a token; it is the same for all genes of a cell and
    so does not change their order, hence only count / median is computed, in float64.

    Parameters
    ----------
    gene_tokens
        The token of each gene, integers of shape ``(n_vars,)``; a negative number says
        that the gene has none. Or a vocabulary, from names of genes to tokens, with
        `var_names`.
    medians
        The median of each gene over a corpus, numbers above 0 of shape ``(n_vars,)``,
        or from names of genes to numbers; NaN says that there is none.
    length
        Columns of the result. None: as many as padded X has, plus special tokens, so
        that the widths which a Loader makes (``width=[512, 1024, 2048]``) stay.
    special
        Tokens that are no genes: ``"pad"`` fills rows (0 by default), ``"cls"`` comes
        first and ``"eos"`` last, where they are given. ``"<pad>"`` and so on do too.
    var_names
        Names of the genes of X, ``source.var_names``; where `gene_tokens` and `medians`
        are by name.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded
        counts (or what `normalize_total` makes of them), and becomes
        ``{"tokens": (n_rows, length), "length": (n_rows,)}``, int32. The length counts
        special tokens. A cell without expressed genes has those alone; a filled row
        (``index`` -1) has length 0.

    Raises
    ------
    TypeError
        If the tokens are no integers, or names are needed and not given.
    ValueError
        If the two arrays are not of one length, `var_names` has genes of the source in
        another order, no gene has both a token and a median,
        a median of a gene with a token is 0 or less, or `special` names another token
        or one that is a gene's (``"pad"`` may be, since rows have lengths).

    Notes
    -----
    A gene takes part if it has a token and a median; ``repr`` says how many do. Genes
    of equal rank come in the order of the columns (Geneformer leaves that open), and
    columns that share a token are ranked each for itself. What fills rows after a
    ``fetch_transform`` with ``output="padded"`` is 0, whatever ``"pad"`` is.

    Theodoris et al., "Transfer learning enables predictions in network biology",
    Nature 2023; `TranscriptomeTokenizer` (``tokenize_anndata`` and ``rank_genes``) of
    its code. The first model has ``length=2048`` and no special tokens, the second
    ``length=4096, special={"pad": 0, "cls": 2, "eos": 3}``.

    Examples
    --------
    Three genes with tokens 10, 11 and 12, and a fourth without. Over the medians the
    counts 4, 3, 2 and 9 are 4/4 = 1, 3/1 = 3, 2/2 = 1; so gene 1 comes first, and of
    genes 0 and 2 the first column:

    >>> hook = rank_tokens([10, 11, 12, -1], [4.0, 1.0, 2.0, np.nan], length=5)
    >>> ranked = hook(np.array([[4, 3, 2, 9]]))
    >>> ranked["tokens"].tolist(), ranked["length"].tolist()
    ([[11, 10, 12, 0, 0]], [3])
    """
    tokens, divisors = align_genes(gene_tokens, medians, var_names)
    marks = _check_special(special, tokens[~np.isnan(divisors)])
    if length is not None:
        check_count("length", length, least=1 + len(set(marks) - {"pad"}))
    return _RankTokens(
        x=x,
        length=None if length is None else int(length),
        special=marks,
        n_genes=int(np.count_nonzero(~np.isnan(divisors))),
        tokens=tokens,
        medians=divisors,
        var_names=None if var_names is None else np.asarray(var_names, object),
    )


def _check_special(
    special: Mapping[str, int] | None, genes: npt.NDArray[np.int32]
) -> dict[str, int]:
    """Return the special tokens, with one for padding."""
    given = {} if special is None else special
    marks = {"pad": 0, **{str(name).strip("<>"): given[name] for name in given}}
    for name, token in marks.items():
        if name not in _SPECIAL:
            raise ValueError(
                f"rank_tokens: special names {name!r}; {nearest(name, _SPECIAL)}"
            )
        check_count(f"the special token {name!r}", token, least=-(2**31))
        if name != "pad" and (genes == token).any():
            raise ValueError(
                f"rank_tokens: the special token {name!r} is {token}, which is also the"
                " token of a gene"
            )
    return {name: int(token) for name, token in marks.items()}


@dataclass(frozen=True, repr=False, eq=False)  # arrays have no single answer
class _RankTokens(Hook):
    name = "rank_tokens"
    length: int | None
    special: dict[str, int]
    n_genes: int
    tokens: npt.NDArray[np.int32] = field(repr=False)
    medians: npt.NDArray[np.float64] = field(repr=False)  # NaN: takes no part
    var_names: npt.NDArray[np.object_] | None = field(repr=False)

    def check_source(self, source: Any) -> None:  # Any: a Source, see Hook
        super().check_source(source)
        if self.var_names is not None:
            parts = source.info.parts
            names = parts[self._find_part(parts)] if parts else source.var_names
            self._call(check_order, self.var_names, names)

    def check_genes(self, n_vars: int) -> None:
        if n_vars != len(self.tokens):
            raise ValueError(
                f"gene_tokens has {len(self.tokens):,} genes, and X has {n_vars:,};"
                " give tokens and medians for the genes of the source, in its order"
                " (source.var_names)"
            )

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        check_counts(get_values(x))
        if isinstance(x, Mapping):
            width = x["values"].shape[1]
        else:
            self.check_genes(x.shape[1])
            width = None
        n_special = len(self.special) - 1
        if self.length is None and width is None:
            raise ValueError(
                "length=None goes with padded rows; give a length, or ask the Loader"
                ' for output="padded"'
            )
        length = width + n_special if self.length is None else self.length
        return self._write(self._rank(find_entries(x)), length, rows.index)

    def _rank(self, found: Entries) -> Entries:
        """Return the tokens of the genes of each row that take part, in order."""
        entries = found.in_column_order()
        check_columns(entries.columns, len(self.tokens))
        ratios = entries.values / self.medians[entries.columns]
        kept = ratios > 0  # not so for NaN
        ranked = Entries(ratios, entries.columns, entries.starts).keep(kept)
        order = find_row_order(ranked.values, ranked.starts)
        return ranked._replace(values=self.tokens[ranked.columns[order]])

    def _write(
        self, ranked: Entries, length: int, index: npt.NDArray[np.int64] | None
    ) -> dict[str, npt.NDArray[np.int32]]:
        """Lay the tokens of each row out between the special ones."""
        first, last = "cls" in self.special, "eos" in self.special
        n_rows = len(ranked.lengths)
        real = np.ones(n_rows, bool) if index is None else np.asarray(index) >= 0
        kept = np.minimum(ranked.lengths, length - first - last)
        tokens = np.full((n_rows, length), self.special["pad"], np.int32)
        if first:
            tokens[real, 0] = self.special["cls"]
        if last:
            tokens[real, first + kept[real]] = self.special["eos"]
        starts = ranked.starts.tolist()
        for row, n in enumerate(kept.tolist()):
            start = starts[row]
            tokens[row, first : first + n] = ranked.values[start : start + n]
        total = np.where(real, kept + first + last, 0)
        return {"tokens": tokens, "length": total.astype(np.int32)}
