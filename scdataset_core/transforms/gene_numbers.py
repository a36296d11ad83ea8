"""Tokens and medians of genes, by column of X, whether given by column or by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["align_genes", "check_order"]

_NO_TOKEN = -1


def align_genes(
    gene_tokens: npt.ArrayLike | Mapping[str, int],
    medians: npt.ArrayLike | Mapping[str, float],
    var_names: npt.ArrayLike | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the token and the median of each gene; NaN where it lacks one of the two.

    Parameters
    ----------
    gene_tokens, medians, var_names
        See :func:`scdataset_core.transforms.rank_tokens`.

    Returns
    -------
    tokens, medians
        Shape ``(n_vars,)`` each.
    """
    names = None if var_names is None else np.asarray(var_names, object)
    tokens = _by_column("gene_tokens", gene_tokens, names, _NO_TOKEN)
    divisors = _by_column("medians", medians, names, np.nan)
    if tokens.dtype.kind not in "iu":
        raise TypeError(
            f"rank_tokens: gene_tokens must be integers, got {tokens.dtype}; -1 says"
            " that a gene has no token"
        )
    if divisors.dtype.kind not in "iuf":
        raise TypeError(f"rank_tokens: medians must be numbers, got {divisors.dtype}")
    if len(tokens) != len(divisors):
        raise ValueError(
            "rank_tokens: gene_tokens and medians must be of one length, the number of"
            f" genes, got {len(tokens):,} and {len(divisors):,}"
        )
    if names is not None and len(names) != len(tokens):
        raise ValueError(
            f"rank_tokens: var_names has {len(names):,} names, and gene_tokens is of"
            f" {len(tokens):,} genes"
        )
    if len(tokens) and int(tokens.max()) >= 2**31:
        raise ValueError(f"rank_tokens: tokens must be below 2**31, got {tokens.max()}")
    ratios = np.where(tokens.astype(np.int64) >= 0, divisors, np.nan)
    _check_medians(ratios)
    return np.maximum(tokens.astype(np.int64), _NO_TOKEN).astype(np.int32), ratios


def check_order(
    var_names: npt.NDArray[np.object_], names: npt.NDArray[np.object_]
) -> None:
    """Raise if two lists name the same genes at different columns.

    Lists that name genes in different ways, such as by symbol and by Ensembl's id, have
    no name in common, and a repeated symbol is unique in one of them only.

    Parameters
    ----------
    var_names
        The names that were given.
    names
        Those of the genes of X, as many.
    """
    given, there = set(var_names.tolist()), set(names.tolist())
    for column in np.flatnonzero(var_names != names).tolist():
        if var_names[column] in there and names[column] in given:
            raise ValueError(
                f'var_names has "{var_names[column]}" for column {column}, where the'
                f' source has "{names[column]}"; give the names of its genes in their'
                " order: var_names=source.var_names"
            )


def _check_medians(medians: npt.NDArray[np.float64]) -> None:
    """Raise unless some genes have a median, and all that do one above 0."""
    wrong = ~np.isnan(medians) & ~((medians > 0) & (medians < np.inf))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"rank_tokens: medians must be above 0, got {medians[at]} for gene {at},"
            " which has a token; NaN says that a gene has none and leaves it out"
        )
    if np.isnan(medians).all():
        raise ValueError("rank_tokens: none of the genes has both a token and a median")


def _by_column(
    what: str,
    given: Any,  # Any: an array, or a mapping from names
    names: npt.NDArray[np.object_] | None,
    missing: float,
) -> npt.NDArray[Any]:
    """Return a number for each column, `missing` where there is none for its name."""
    if not isinstance(given, Mapping):
        array = np.array(given)
        if array.ndim != 1:
            raise ValueError(
                f"rank_tokens: {what} must have shape (n_vars,), got {array.shape}"
            )
        return array
    if names is None:
        raise TypeError(
            f"rank_tokens: {what} is by name of the gene; give"
            " var_names=source.var_names too"
        )
    found = [given.get(name, missing) for name in names.tolist()]
    if not any(name in given for name in names.tolist()):
        ours, theirs = (next(iter(some), "none") for some in (names, given))
        raise ValueError(
            f"rank_tokens: {what} has none of the {len(names):,} genes of var_names:"
            f' they are called as in "{ours}", and those of {what} as in "{theirs}"'
        )
    return np.array(found)
