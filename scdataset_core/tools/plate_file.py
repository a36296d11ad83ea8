"""Plate files: AnnData's own writer makes an `.h5ad` file of a synthetic plate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .plate_layouts import PlateLayout, create_x
from .safe_file import DiskFile
from .screen import N_DRUGS, N_LINES, WELL_COLUMNS, WELL_ROWS, Plate, Screen

if TYPE_CHECKING:
    import h5py
    import pandas as pd

__all__ = ["import_writers", "write_plate"]

ROWS = "ABCDEFGHIJKLMNOP"


def import_writers() -> None:
    """Import what `write_plate` needs, while Ctrl-C still ends the program at once."""
    import anndata.io  # noqa: F401
    import h5py  # noqa: F401
    import scipy.sparse  # noqa: F401


def write_plate(
    disk: DiskFile,
    plate: Plate,
    screen: Screen,
    *,
    name: str,
    layout: PlateLayout,
    compression: str | None,
    progress: Callable[[int], object] | None,
) -> None:
    """Write one plate, X a piece at a time; stop if `disk` fails.

    ``layers/counts`` and ``raw/X`` are other names (hard links) of X, so they take no
    room in the file.
    """
    import h5py
    from anndata import AnnData
    from anndata.io import write_elem

    n_cells = len(plate.well)
    totals = []
    with h5py.File(disk, "w") as file, closing(plate.counts()) as pieces:
        write_elem(file, "/", AnnData(var=_make_var(screen)))
        x = create_x(
            file,
            layout,
            shape=(n_cells, screen.n_genes),
            n_stored=n_cells * screen.stored_per_cell,
            compression=compression,
        )
        for piece in pieces:
            x.append(piece)
            if disk.failed:
                return
            totals.append(np.asarray(piece.sum(axis=1), np.float32).ravel())
            if progress is not None:
                progress(piece.shape[0])
        write_elem(file, "obs", _make_obs(name, plate, np.concatenate(totals)))
        write_elem(file, "obsm/X_pca", plate.components)
        _link_counts(file)


def _link_counts(file: h5py.File) -> None:
    """Link ``layers/counts`` and ``raw/X`` to X."""
    from anndata.io import write_elem

    file.pop("raw", None)  # AnnData may have written that there is no raw
    raw = file.create_group("raw")
    raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
    write_elem(raw, "varm", {})
    raw["var"] = file["var"]
    raw["X"] = file["layers/counts"] = file["X"]


def _make_var(screen: Screen) -> pd.DataFrame:
    import pandas as pd

    numbers = range(screen.n_genes)
    columns = {
        "symbol": [f"SYN{number}" for number in numbers],
        "highly_variable": screen.raised,
    }
    return pd.DataFrame(columns, index=pd.Index([f"gene{i}" for i in numbers]))


def _make_obs(name: str, plate: Plate, totals: npt.NDArray[np.float32]) -> pd.DataFrame:
    import pandas as pd

    def labels(codes: npt.NDArray[Any], names: list[str]) -> pd.Categorical:
        column = pd.Categorical.from_codes(codes, pd.Index(names))
        return column.remove_unused_categories()

    columns = range(1, WELL_COLUMNS + 1)
    wells = [f"{name}-{row}{c:02d}" for c in columns for row in ROWS[:WELL_ROWS]]
    drugs = ["DMSO", *(f"drug{i:02d}" for i in range(1, N_DRUGS))]
    return pd.DataFrame(
        {
            "plate": labels(np.zeros_like(plate.well), [name]),
            "sample": labels(plate.well, wells),
            "cell_line": labels(
                plate.line, [f"line{i:02d}" for i in range(1, N_LINES + 1)]
            ),
            "drug": labels(plate.drug, drugs),
            "total_counts": totals,
        },
        index=pd.Index([f"{name}-{i}" for i in range(len(totals))]),
    )
