"""Convert the state of a Grain iterator to one JSON string and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from reprlib import repr as repr_short
from typing import Any

from scdataset_core import StateError
from scdataset_core.state import State

__all__ = ["IteratorState", "loader_states"]

_KIND = "scdataset_grain"
_VERSION = 1


@dataclass(frozen=True)
class IteratorState:
    """The position of an iterator of a `BatchIterDataset`.

    Parameters
    ----------
    loader
        The result of the Loader's ``state_dict()``.
    ended
        Number of epochs that have ended since the iterator was made.
    """

    loader: dict[str, Any]
    ended: int

    def to_text(self) -> str:
        """Return the state as JSON; equal states give equal texts."""
        parts = {_KIND: _VERSION, "ended": self.ended, "loader": self.loader}
        return json.dumps(parts, sort_keys=True)

    @classmethod
    def from_text(cls, text: object) -> "IteratorState":
        """Return the state that a text of :meth:`to_text` holds.

        Raises
        ------
        StateError
            If the text holds no such state, or one of another version.
        """
        state = cls.find_in(text)
        if state is None:
            raise StateError(
                "this is no state of a BatchIterDataset's iterator:"
                f" {str(text)[:80]!r}; give what get_state() of the same pipeline"
                " returned"
            )
        return state

    @classmethod
    def find_in(cls, leaf: object) -> "IteratorState | None":
        """Return the state that a leaf of a state tree holds, or None."""
        if not isinstance(leaf, str):
            return None
        try:
            parts = json.loads(leaf)
        except (json.JSONDecodeError, RecursionError):
            return None
        if not isinstance(parts, dict) or _KIND not in parts:
            return None
        if parts[_KIND] != _VERSION:
            raise StateError(
                f"the iterator's state has version {repr_short(parts[_KIND])}, and this"
                f" release reads version {_VERSION}; use the release that wrote it"
            )
        loader, ended = parts.get("loader"), parts.get("ended")
        if not isinstance(loader, dict) or not isinstance(ended, int) or ended < 0:
            raise StateError(
                f"the iterator's state is damaged: {leaf[:80]!r}; give what get_state()"
                " of the same pipeline returned"
            )
        return cls(loader, ended)

    def for_worker(self, worker: int, num_workers: int) -> "IteratorState":
        """Return the state for one of several workers.

        It is another state only if the pipeline has not begun: Grain then takes the
        state in the main process, where the work is not divided yet.

        Raises
        ------
        StateError
            If the Loader's state is damaged.
        """
        read = State.parse(self.loader)
        if read.shard is None or read.shard.num_workers != 1 or read.yielded:
            return self
        shard = replace(read.shard, worker=worker, num_workers=num_workers)
        return IteratorState(replace(read, shard=shard).to_dict(), self.ended)


def loader_states(state: Any) -> list[dict[str, Any]]:
    """Return the Loader's states inside a Grain state, one for each worker.

    Grain's own states fit only the same number of processes and workers. To go on with
    any other number, give the Loader's states of all processes to
    :func:`scdataset_core.merge_states`.

    Parameters
    ----------
    state
        The result of ``get_state()`` of an iterator over a `BatchIterDataset`, whatever
        Grain transformations follow the dataset. If the pipeline mixes several such
        datasets, give the part of the state that belongs to one of them.

    Returns
    -------
    states
        The states that ``merge_states`` takes, in the order of the workers.

    Raises
    ------
    StateError
        If `state` holds no state of a Loader.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> from scdataset_grain import BatchIterDataset
    >>> loader = scd.Loader(np.arange(6), batch_size=2)
    >>> running = iter(BatchIterDataset(loader))
    >>> _ = next(running)
    >>> [state["yielded"] for state in loader_states(running.get_state())]
    [1]
    """
    found = [
        part
        for leaf in _list_leaves(state)
        if (part := IteratorState.find_in(leaf)) is not None
    ]
    if not found:
        raise StateError(
            "there is no Loader's state in this Grain state; give what get_state() of"
            " an iterator over a BatchIterDataset returned"
        )
    return [
        part.for_worker(worker, len(found)).loader for worker, part in enumerate(found)
    ]


def _list_leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [leaf for part in tree.values() for leaf in _list_leaves(part)]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in _list_leaves(part)]
    return [tree]
