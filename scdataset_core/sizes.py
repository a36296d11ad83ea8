"""Sizes: how the rows of an epoch are cut into minibatches and fetches."""

from dataclasses import dataclass
from typing import Literal

from .checks import check_count, check_flag

__all__ = ["Sizes", "Uneven"]

Uneven = Literal["trim", "pad"]


@dataclass(frozen=True)
class Sizes:
    """How the rows of an epoch are cut, checked.

    Parameters
    ----------
    batch_size
        Rows of a minibatch.
    fetch_factor
        Minibatches of a fetch.
    drop_last
        Whether the last minibatch is left out if it is short.
    uneven
        What happens to the minibatches that do not divide among the ranks: ``"trim"``
        leaves them out, ``"pad"`` repeats some.

    Raises
    ------
    TypeError
        If a size is no integer, or `drop_last` is neither True nor False.
    ValueError
        If a size is below 1, or `uneven` is neither of the two.
    """

    batch_size: int = 64
    fetch_factor: int = 16
    drop_last: bool = False
    uneven: Uneven = "trim"

    def __post_init__(self) -> None:
        for name in ("batch_size", "fetch_factor"):
            check_count(name, getattr(self, name))
            # NumPy's integers are not JSON, which states are.
            object.__setattr__(self, name, int(getattr(self, name)))
        check_flag("drop_last", self.drop_last)
        object.__setattr__(self, "drop_last", bool(self.drop_last))
        if self.uneven not in ("trim", "pad"):
            raise ValueError(f'uneven must be "trim" or "pad", got {self.uneven!r}')

    @property
    def fetch_rows(self) -> int:
        """Rows of a whole fetch."""
        return self.batch_size * self.fetch_factor
