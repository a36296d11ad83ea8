"""Transforms: hooks, written in NumPy, that turn a batch into what a model takes."""

from .binning import bin_values
from .clipping import clip
from .composing import compose
from .densifying import to_dense
from .gene_choice import choose_genes
from .logarithm import log1p
from .masking import mask_values
from .ranking import rank_tokens
from .scaling import scale
from .totals import normalize_total

__all__ = [
    "bin_values",
    "choose_genes",
    "clip",
    "compose",
    "log1p",
    "mask_values",
    "normalize_total",
    "rank_tokens",
    "scale",
    "to_dense",
]
