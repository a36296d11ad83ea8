"""Where the minibatches of `device_prefetch` come from, and how to go back there."""

from collections.abc import Iterable, Iterator
from typing import Any

from scdataset_core import Loader
from scdataset_core.adapters import load_rest_of_epoch

__all__ = ["ResumableInput"]


class ResumableInput:
    """An iterator, and whichever object knows its state.

    States are of Grain's iterators (``get_state``), or of what is iterated over
    (``state_dict``, as the Loader has); ``grain.DataLoader`` gives bytes, which pass as
    text here, since checkpoints are JSON.

    Parameters
    ----------
    iterable
        A Grain dataset or its iterator, a Loader, or any other iterable.
    """

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable: Any = iterable
        self.iterator: Iterator[Any] = iter(iterable)

    def get_state(self) -> Any:
        """Return where the iterator stands; None where nothing says so."""
        for owner, name in (
            (self.iterator, "get_state"),
            (self._iterable, "state_dict"),
        ):
            if hasattr(owner, name):
                state = getattr(owner, name)()
                return state.decode() if isinstance(state, bytes) else state
        return None

    def set_state(self, state: Any) -> None:
        """Go on from a state that `get_state` gave, perhaps in another process."""
        iterator: Any = self.iterator
        if hasattr(iterator, "set_state"):
            in_bytes = isinstance(iterator.get_state(), bytes)
            iterator.set_state(state.encode() if in_bytes else state)
            return
        if hasattr(iterator, "close"):
            iterator.close()
        if isinstance(self._iterable, Loader):
            load_rest_of_epoch(self._iterable, state)
        else:
            self._iterable.load_state_dict(state)
        self.iterator = iter(self._iterable)
