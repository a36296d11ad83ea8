"""Lists of names of many files, of which one copy is kept."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["SharedNames"]

Names = npt.NDArray[np.object_]


class SharedNames:
    """Keeps one copy of each different list of names."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Names] = {}
        self._by_hash: dict[int, list[Names]] = {}

    def get(self, key: bytes | None, read: Callable[[], Names]) -> Names:
        """Return a list of names.

        Parameters
        ----------
        key
            Bytes that are the same for another list only if all its names are; None if
            there are none.
        read
            Returns the list. It is called where no list of this key is known.
        """
        if key is not None and key in self._by_key:
            return self._by_key[key]
        names = self.share(read())
        if key is not None:
            self._by_key[key] = names
        return names

    def share(self, names: Names) -> Names:
        """Return the list that is kept in place of an equal one."""
        held = self._by_hash.setdefault(hash(tuple(names.tolist())), [])
        for other in held:
            if other is names or np.array_equal(other, names):
                return other
        held.append(names)
        return names
