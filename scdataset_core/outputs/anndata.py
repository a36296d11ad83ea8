"""AnnData output: each batch is an `AnnData` object, X as it is stored."""

from collections.abc import Callable
from typing import Any

from ..anndata_maker import AnnDataMaker
from ..cells import Cells
from ..info import CellInfo
from .base import Output

__all__ = ["AnnDataOutput"]


class AnnDataOutput(Output):
    """``output="anndata"``: `AnnData` objects, CSR or dense as the data are stored."""

    name = "anndata"

    def layout_of(self, stored: str) -> str:
        """Return the layout in which X is stored."""
        return stored

    def finisher(self, info: CellInfo) -> Callable[[Cells], Any]:
        """Return what makes an `AnnData` of cells; what they share is made once."""
        maker = AnnDataMaker(info)

        def make(cells: Cells) -> Any:
            if isinstance(cells["X"], dict) and "length" in cells["X"]:
                raise TypeError(
                    'output="anndata" needs X as a matrix, and fetch_transform made'
                    ' rows of one length of it; ask for output="csr", whose batches'
                    " are dicts"
                )
            return cells.to_anndata(maker if cells.info is info else None)

        return make
