"""Plain generators over the engine's minibatches, for everything else."""

__all__: list[str] = []
