"""Shuffled minibatches straight out of single-cell files, without torch."""

from . import transforms
from .cells import Cells
from .errors import (
    CorruptFileError,
    FileChangedError,
    FileFormatError,
    GeneMismatchError,
    MissingNameError,
    ScdatasetError,
    StateError,
)
from .label_weights import class_weights
from .loader import Loader
from .mixing import mix
from .multiindexable import MultiIndexable
from .plan import Plan
from .progress_line import progress
from .row_sets import RowSet
from .sources import open
from .sources.anndata_files.index import Index
from .sources.base import Source
from .sources.combined.one_after_another import concat
from .splits import load_split, split
from .state import merge_states
from .storage.cache import Cache
from .strategies import (
    BlockShuffling,
    BlockWeightedSampling,
    ClassBalancedSampling,
    GroupSampling,
    Streaming,
)
from .suggestion import suggest

__version__ = "0.1.0"

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "Cache",
    "Cells",
    "ClassBalancedSampling",
    "CorruptFileError",
    "FileChangedError",
    "FileFormatError",
    "GeneMismatchError",
    "GroupSampling",
    "Index",
    "Loader",
    "MissingNameError",
    "MultiIndexable",
    "Plan",
    "RowSet",
    "ScdatasetError",
    "Source",
    "StateError",
    "Streaming",
    "class_weights",
    "concat",
    "load_split",
    "merge_states",
    "mix",
    "open",
    "progress",
    "split",
    "suggest",
    "transforms",
]
