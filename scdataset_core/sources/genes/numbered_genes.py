"""Genes known by number: what each id is called, and the column it gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LEFT_OUT", "UNKNOWN", "GeneIds"]

# These stand for the column of a gene that was not asked for, or is not known.
LEFT_OUT, UNKNOWN = -1, -2

_LARGEST_ID = (1 << 24) - 1


@dataclass(frozen=True)
class GeneIds:
    """The genes that a table knows by number, in the order of their ids.

    Parameters
    ----------
    names
        Their names.
    columns
        The column of each id from 0 on, `UNKNOWN` for those that are no gene; int32.
    """

    names: npt.NDArray[np.object_]
    columns: npt.NDArray[np.int32]

    @classmethod
    def of(cls, vocabulary: Mapping[int, str] | Sequence[str]) -> "GeneIds":
        """Return the genes of a vocabulary, checked.

        Parameters
        ----------
        vocabulary
            Names by id, or in the order of the ids from 0 on.

        Raises
        ------
        TypeError
            If ids are no integers, as when names and ids are swapped.
        ValueError
            If there is no gene, or an id is negative or too large for a table.
        """
        if isinstance(vocabulary, str) or len(vocabulary) == 0:
            raise ValueError(
                "vocabulary must be names by id, {3: 'TSPAN6', ...}, or a list of"
                f" names, at least one, got {vocabulary!r}"
            )
        if not isinstance(vocabulary, Mapping):
            names = np.array([str(name) for name in vocabulary], object)
            return cls(names, np.arange(len(names), dtype=np.int32))
        for gene in vocabulary:
            if not isinstance(gene, int | np.integer):
                raise TypeError(
                    f"vocabulary must have integer ids as keys, got {gene!r}; turn it"
                    " around: {id: name for name, id in vocabulary.items()}"
                )
        ids = np.array(sorted(vocabulary), np.int64)
        if ids[0] < 0 or ids[-1] > _LARGEST_ID:
            wrong = ids[0] if ids[0] < 0 else ids[-1]
            raise ValueError(
                f"vocabulary must have ids from 0 to {_LARGEST_ID}, got {wrong}"
            )
        columns = np.full(int(ids[-1]) + 1, UNKNOWN, np.int32)
        columns[ids] = np.arange(len(ids), dtype=np.int32)
        names = np.array([str(vocabulary[gene]) for gene in ids.tolist()], object)
        return cls(names, columns)

    def select(self, column_map: npt.NDArray[np.int32] | None) -> npt.NDArray[np.int32]:
        """Return the column of each id after `column_map` moved or left out columns."""
        if column_map is None:
            return self.columns
        out = np.full_like(self.columns, UNKNOWN)
        known = self.columns >= 0
        out[known] = column_map[self.columns[known]]
        return out

    def known(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which ids are genes."""
        inside = (ids >= 0) & (ids < len(self.columns))
        found: npt.NDArray[np.bool_] = np.zeros(len(ids), bool)
        found[inside] = self.columns[ids[inside].astype(np.int64)] >= 0
        return found
