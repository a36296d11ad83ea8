"""The obs columns of a source by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingNameError, nearest

__all__ = ["ObsColumns", "not_carried", "not_labels"]


class ObsColumns(Mapping[str, npt.NDArray[Any]]):
    """The obs columns a source carries; each read from its files when asked for."""

    def __init__(
        self, names: Sequence[str], read: Callable[[str], npt.NDArray[Any]]
    ) -> None:
        self._names = tuple(names)
        self._read = read

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._names:
            raise not_carried(name, self._names)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"ObsColumns({', '.join(self._names) or 'none'})"


def not_carried(name: str, known: Sequence[str]) -> MissingNameError:
    """Return the error for an obs column that a source does not carry."""
    return MissingNameError(
        f'obs column "{name}" is not carried by this source; {nearest(name, known)};'
        f' add it to open(..., obs=[..., "{name}"])'
    )


def not_labels(name: str, dtype: np.dtype[Any]) -> TypeError:
    """Return the error for decoding an obs column that does not hold codes."""
    what = "booleans" if dtype.kind == "b" else "numbers"
    return TypeError(
        f'obs column "{name}" holds {what} ({dtype}), which are their own values:'
        " there is nothing to decode"
    )
