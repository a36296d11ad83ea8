"""PyTorch adapter: the engine's minibatches through a ``DataLoader``."""

try:
    import torch  # noqa: F401  imported for its absence
except ModuleNotFoundError as err:
    if err.name != "torch":
        raise
    raise ModuleNotFoundError(
        "scdataset_torch needs PyTorch; "
        "install it with `pip install 'scdataset-core[torch]'`",
        name="torch",
    ) from err

__all__: list[str] = []
