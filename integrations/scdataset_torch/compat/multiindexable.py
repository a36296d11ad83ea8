"""MultiIndexable, the core's own."""

from scdataset_core import MultiIndexable

__all__ = ["MultiIndexable"]
