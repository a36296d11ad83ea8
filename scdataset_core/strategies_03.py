"""Strategies written for `scdataset` 0.3, whose lists of rows become orders."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .checks import count_rows, digest
from .order_checks import check_rows
from .orders import Rows
from .row_sets import RowSet

__all__ = ["LegacyOrder", "LegacyStrategy", "describe_attributes"]

_SEEDS_BETWEEN_EPOCHS = 1000  # as scdataset 0.3 spaces them


@runtime_checkable
class LegacyStrategy(Protocol):
    """What `scdataset` 0.3 asks of a strategy."""

    def get_indices(
        self, data_collection: Any, seed: int | None = None, rng: Any = None
    ) -> npt.ArrayLike:
        """Return all rows of an epoch. Any: whatever the user iterates over."""
        ...


class LegacyOrder:
    """The rows that a strategy of `scdataset` 0.3 lists; they take O(n) memory.

    `get_indices` is called once, when rows are first wanted. Its result must depend on
    the seed alone, since every process calls it.
    """

    def __init__(
        self, strategy: LegacyStrategy, collection: Any, *, seed: int, epoch: int
    ) -> None:
        self._strategy = strategy
        self._collection = collection
        self._seed = seed + _SEEDS_BETWEEN_EPOCHS * epoch
        self._listed: Rows | None = None
        self.shuffle = bool(getattr(strategy, "_shuffle_before_yield", False))

    def __len__(self) -> int:
        get_len = getattr(self._strategy, "get_len", None)
        return len(self._all()) if get_len is None else int(get_len(self._collection))

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._all()[start:stop]

    def _all(self) -> Rows:
        if self._listed is None:
            name = type(self._strategy).__name__
            given = self._strategy.get_indices(self._collection, seed=self._seed)
            self._listed = check_rows(
                given,
                origin=f"{name}.get_indices",
                first=0,
                n_source=count_rows(self._collection),
            )
            if len(self) != len(self._listed):
                raise ValueError(
                    f"{name}.get_indices gave {len(self._listed)} rows and get_len says"
                    f" {len(self)}; they must agree"
                )
        return self._listed


def describe_attributes(strategy: object) -> dict[str, Any]:
    """Return what a state keeps of a strategy that does not describe itself.

    These are its attributes that are numbers and texts, and digests of those that are
    arrays and row sets: a RowSet has the digest of the array of its rows.
    """
    facts: dict[str, Any] = {"name": type(strategy).__name__}
    for name, value in getattr(strategy, "__dict__", {}).items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, RowSet):
            facts[name] = plain.digest()
        elif isinstance(plain, np.ndarray) and plain.dtype.kind in "biufSU":
            facts[name] = digest(plain)
        elif isinstance(plain, int | float | str | None):
            facts[name] = plain
    return facts
