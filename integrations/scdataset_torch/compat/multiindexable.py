"""Gives MultiIndexable, which is the core's own, the module name of 0.3."""

from scdataset_core import MultiIndexable

__all__ = ["MultiIndexable"]
