"""Generators adapter: a Loader's minibatches for anything that takes an iterable."""

from .generators import batches, cells, forever

__all__ = ["batches", "cells", "forever"]
