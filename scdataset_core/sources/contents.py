"""What a file or object of cells holds besides X: its names, and its table of genes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Container", "Contents"]


@dataclass(frozen=True)
class Contents:
    """The names of what a file or object holds.

    Parameters
    ----------
    x
        The matrix that is read from it.
    obs, var
        Columns of these tables.
    layers, obsm
        Matrices.
    has_x, has_raw
        Whether there is an ``X``, and a ``raw/X``.
    """

    x: str
    obs: tuple[str, ...] = ()
    var: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    obsm: tuple[str, ...] = ()
    has_x: bool = True
    has_raw: bool = False

    @property
    def matrices(self) -> list[str]:
        """What ``x=`` may name."""
        return [
            *(["X"] if self.has_x else []),
            *(["raw/X"] if self.has_raw else []),
            *(f"layers/{name}" for name in self.layers),
            *(f"obsm/{name}" for name in self.obsm),
        ]


class Container(Protocol):
    """A file or object of cells that tells what it holds, when it is asked."""

    def contents(self) -> Contents:
        """Return the names of what is there, from descriptions alone."""

    def var(self) -> "pd.DataFrame":
        """Return the table of the genes, in the order of the file."""
