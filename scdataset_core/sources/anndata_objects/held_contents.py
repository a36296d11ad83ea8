"""What an AnnData in memory holds besides its cells: names, and its var."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..contents import Contents

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HeldContents"]


@dataclass(frozen=True)
class HeldContents:
    """The names of what an AnnData held when it was opened, and its var.

    Parameters
    ----------
    held
        The names.
    table
        Its var, or that of raw.
    """

    held: Contents
    table: "pd.DataFrame" = field(repr=False)

    def contents(self) -> Contents:
        """Return the names of what was there."""
        return self.held

    def var(self) -> "pd.DataFrame":
        """Return the table of the genes."""
        return self.table
