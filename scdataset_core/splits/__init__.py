"""Splits: parts of the rows of a source that share no row, and no group."""

from .making import split
from .split import Split, load_split

__all__ = ["Split", "load_split", "split"]
