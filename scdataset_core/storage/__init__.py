"""Reads ranges of arrays in files into given memory, on several threads."""

from .arrays import StoredArray
from .context import ReadContext, default_context
from .decoding.filters import CodecError, Filter
from .decoding.registry import register_decoder
from .io.fork_safe_lock import first_use_lock
from .layout import ArrayLayout, ChunkGrid
from .reading.array_stacks import ArrayStack, StackRead
from .reading.read_requests import read_requests
from .reading.requests import Request
from .reading.stacked_reads import read_stack
from .stats import ReadStats

__all__ = [
    "ArrayLayout",
    "ArrayStack",
    "ChunkGrid",
    "CodecError",
    "Filter",
    "ReadContext",
    "ReadStats",
    "Request",
    "StackRead",
    "StoredArray",
    "default_context",
    "first_use_lock",
    "read_requests",
    "read_stack",
    "register_decoder",
]
