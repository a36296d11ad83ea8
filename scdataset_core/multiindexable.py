"""MultiIndexable: several aligned collections indexed as one."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from .checks import count_rows

__all__ = ["MultiIndexable"]


def _by_row(indexable: Any) -> Any:  # Any: see MultiIndexable
    """Return what takes rows: pandas would take them for labels of its index."""
    return getattr(indexable, "iloc", indexable)


class MultiIndexable:
    """Several collections of the same rows, indexed together.

    ``multi[rows]`` is a MultiIndexable of each ``collection[rows]``; ``multi[0]`` and
    ``multi["name"]`` are the collections themselves.

    Parameters
    ----------
    *indexables
        The collections, all of one length; or one dict of them by name. Rows of a
        pandas Series or frame are taken by position, whatever its index is.
    names
        A name for each.
    unstructured
        Data that is not indexed and is passed on as it is.
    **named
        The collections by name, in place of `indexables`.

    Raises
    ------
    TypeError
        If both or neither are given, or one has no ``len()``.
    ValueError
        If lengths differ, naming the first that does.

    Examples
    --------
    >>> multi = MultiIndexable(rna=np.zeros((4, 3)), protein=np.ones((4, 2)))
    >>> multi[np.array([0, 2])]["protein"].shape
    (2, 2)
    """

    def __init__(
        self,
        *indexables: Any,  # Any: whatever has len() and can be indexed with rows
        names: Sequence[str] | None = None,
        unstructured: dict[str, Any] | None = None,
        **named: Any,
    ) -> None:
        if indexables and named:
            raise TypeError("Cannot provide both positional and named indexables")
        if unstructured is not None and not isinstance(unstructured, dict):
            raise TypeError(
                f"unstructured must be a dictionary, got {type(unstructured).__name__}"
            )
        if len(indexables) == 1 and isinstance(indexables[0], dict) and names is None:
            named, indexables = indexables[0], ()
            if not named:
                raise ValueError("No indexables provided")
        if named:
            names, indexables = list(named), tuple(named.values())
        if not indexables:
            raise TypeError("Must provide at least one indexable object")
        if names is not None and len(names) != len(indexables):
            raise ValueError(
                f"Length of names ({len(names)}) must match number of indexables"
                f" ({len(indexables)})"
            )
        self._names = None if names is None else [str(name) for name in names]
        self._indexables = list(indexables)
        self._unstructured = dict(unstructured or {})
        self._check_lengths()

    def _check_lengths(self) -> None:
        first: int | None = None
        for position, indexable in enumerate(self._indexables):
            if isinstance(indexable, str | PathLike):
                raise TypeError(
                    f"Indexable at position {position} is the path"
                    f" {str(indexable)!r}; give what scdataset_core.open makes of it"
                )
            try:
                n = count_rows(indexable)
            except TypeError as error:
                raise TypeError(
                    f"Indexable at position {position} does not support len() operation"
                ) from error
            first = n if first is None else first
            if n != first:
                name = f" ('{self._names[position]}')" if self._names else ""
                raise ValueError(
                    "All indexables must have the same length. First indexable has"
                    f" length {first}, but indexable {position}{name} has length {n}"
                )

    @property
    def names(self) -> list[str] | None:
        """Names of the collections, if they have any."""
        return None if self._names is None else list(self._names)

    @property
    def count(self) -> int:
        """Number of collections."""
        return len(self._indexables)

    @property
    def unstructured(self) -> dict[str, Any]:
        """Data that is not indexed."""
        return self._unstructured

    @property
    def unstructured_keys(self) -> list[str]:
        """Keys of the data that is not indexed."""
        return list(self._unstructured)

    def __getitem__(self, key: Any) -> Any:
        """Return a collection by position or name, or all at some rows."""
        if isinstance(key, str):
            return self._find(key)
        if isinstance(key, int | np.integer):
            if not -self.count <= key < self.count:
                raise IndexError(
                    f"Index {key} out of range for {self.count} indexables"
                )
            return self._indexables[key]
        try:
            chosen = [_by_row(indexable)[key] for indexable in self._indexables]
        except (IndexError, TypeError) as error:
            raise IndexError(
                f"Invalid indices for sample selection: {error}"
            ) from error
        return MultiIndexable(
            *chosen, names=self._names, unstructured=self._unstructured or None
        )

    def _find(self, name: str) -> Any:
        if self._names is None:
            raise KeyError(
                f"No named indexables available. Available indices: 0-{self.count - 1}"
            )
        if name not in self._names:
            raise KeyError(f"Key '{name}' not found. Available keys: {self._names}")
        return self._indexables[self._names.index(name)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return count_rows(self._indexables[0])

    @property
    def shape(self) -> tuple[int]:
        """The number of rows."""
        return (len(self),)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._indexables)

    def keys(self) -> list[Any]:
        """Return the names, or the positions where there are none."""
        return list(range(self.count)) if self._names is None else list(self._names)

    def values(self) -> list[Any]:
        """Return the collections."""
        return list(self._indexables)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over names, or positions, and collections."""
        return iter(zip(self.keys(), self._indexables, strict=True))

    def __repr__(self) -> str:
        kind = f"count={self.count}" if self._names is None else f"names={self._names}"
        extra = ""
        if self._unstructured:
            extra = f", unstructured_keys={self.unstructured_keys}"
        return f"MultiIndexable({kind}, samples={len(self)}{extra})"
