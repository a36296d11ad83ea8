"""Loaders over small plates for the tests of JAX and Grain."""

from pathlib import Path
from typing import Any

import scdataset_core as scd

N_GENES = 300


def plate_loader(plates: Path, **options: Any) -> scd.Loader:
    source = scd.open(plates / "*.h5ad", obs=["drug"])
    sizes: dict[str, Any] = {"batch_size": 128, "fetch_factor": 2, "seed": 1}
    return scd.Loader(source, scd.BlockShuffling(8), **(sizes | options))
