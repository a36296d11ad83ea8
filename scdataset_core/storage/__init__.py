"""Arrays in files: chunk tables, decoders, and scattered reads on several threads."""

from .arrays import StoredArray
from .context import ReadContext, default_context
from .decoding.filters import Filter, register_decoder
from .first_use import making
from .layout import ArrayLayout, ChunkGrid
from .reading.requests import Request
from .reading.scatter import scatter
from .stats import ReadStats

__all__ = [
    "ArrayLayout",
    "ChunkGrid",
    "Filter",
    "ReadContext",
    "ReadStats",
    "Request",
    "StoredArray",
    "default_context",
    "making",
    "register_decoder",
    "scatter",
]
