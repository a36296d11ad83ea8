"""Grain and JAX adapter: the engine's minibatches as a ``grain.IterDataset``."""

try:
    import grain  # noqa: F401  imported for its absence
except ModuleNotFoundError as err:
    if err.name != "grain":
        raise
    raise ModuleNotFoundError(
        "scdataset_grain needs Grain and JAX; "
        "install them with `pip install 'scdataset-core[grain]'`",
        name="grain",
    ) from err

__all__: list[str] = []
