"""Plain generators over the engine's minibatches, for everything else."""

from .generators import batches, cells, forever

__all__ = ["batches", "cells", "forever"]
