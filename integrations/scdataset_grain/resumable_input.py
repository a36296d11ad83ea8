"""Take minibatches for `device_prefetch` from any iterable, and resume it."""

from collections.abc import Iterable, Iterator
from typing import Any

from scdataset_core import Loader
from scdataset_core.adapters import load_rest_of_epoch

__all__ = ["ResumableInput"]


class ResumableInput:
    """An iterator over minibatches, with the state of the object that knows it.

    That object is a Grain iterator (``get_state``), or the iterable itself
    (``state_dict``, as a Loader has). The state of a ``grain.DataLoader`` is bytes;
    it becomes text here, since checkpoints are JSON.

    Parameters
    ----------
    iterable
        A Grain dataset or its iterator, a Loader, or any other iterable.
    """

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable: Any = iterable
        self.iterator: Iterator[Any] = iter(iterable)

    def get_state(self) -> Any:
        """Return where the iterator stands, or None if no object knows that."""
        for owner, name in (
            (self.iterator, "get_state"),
            (self._iterable, "state_dict"),
        ):
            if hasattr(owner, name):
                state = getattr(owner, name)()
                return state.decode() if isinstance(state, bytes) else state
        return None

    def set_state(self, state: Any) -> None:
        """Go on from a result of `get_state`, which may come from another process."""
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
