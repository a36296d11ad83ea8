"""States: small JSON-serialisable dicts that say where an epoch stands."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from os import PathLike
from reprlib import repr as repr_short
from typing import Any

import numpy as np
import numpy.typing as npt

from .dealing import Dealing
from .errors import StateError
from .ranges import union
from .shares import AllShares, Shard
from .sizes import Sizes
from .state_checks import check_done, check_parts

__all__ = ["VERSION", "State", "advance_all", "merge_states"]

VERSION = 1

_MOST_NAMED = 16  # of missing states, in an error
# Minibatches that no full round takes are listed; so many take 1.8 GB for a moment. A
# run has fewer than a fetch of each rank, and a few more after a merge.
_MOST_LOOSE = 1 << 24

# These are raised where the parts of a state are not what they should be.
_DAMAGE = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    MemoryError,
)

_SIZES = [field.name for field in fields(Sizes)]
# The parts that two states of one run have in common, and what errors call them.
_SAME = {
    "data": "data set",
    "strategy": "strategy",
    "seed": "seed",
    "length": "number of rows in an epoch",
    **{name: name for name in _SIZES},
}


@dataclass(frozen=True)
class State:
    """The contents of a state, checked.

    Parameters
    ----------
    data
        Fingerprint of the data set.
    strategy
        Name and parameters of the strategy.
    seed, epoch
        They key the order.
    length
        Rows of the epoch.
    sizes
        How the rows are cut into minibatches and fetches.
    done
        Ranges of minibatches done when the work was last dealt.
    shard
        The rank and worker whose state it is; None for a merged state.
    yielded
        Minibatches that shard has yielded since.
    about
        The data set in a few words; only errors use it.
    """

    data: str
    strategy: dict[str, Any]
    seed: int
    epoch: int
    length: int
    sizes: Sizes
    done: list[list[int]]
    shard: Shard | None
    yielded: int
    about: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        parts = asdict(self)
        return {"version": VERSION, **parts.pop("sizes"), **parts}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "State":
        """Check a dict and return its state, where no Loader says what is right.

        Raises
        ------
        StateError
            If the dict is no state, or one of another version.
        """
        read = cls.parse(state)
        read.check(most_loose=_MOST_LOOSE)
        return read

    @classmethod
    def parse(cls, state: Mapping[str, Any]) -> "State":
        """Return the state of a dict, whose numbers may contradict each other.

        Raises
        ------
        StateError
            If the dict is no state, or one of another version.
        """
        if isinstance(state, str | bytes | PathLike):
            raise StateError(
                f"a state is a dict, and this is {repr_short(state)}; read the file or"
                " text first, with json.loads"
            )
        if not hasattr(state, "keys") or "version" not in state:
            raise StateError(
                "this is no state of a Loader: it has no version; give what"
                " loader.state_dict() or merge_states(...) returned"
            )
        version = state["version"]
        if not isinstance(version, int) or version != VERSION:
            raise StateError(
                f"the state has version {repr_short(version)}, and this release reads"
                f" version {VERSION}; use the release that wrote it"
            )
        parts: dict[str, Any] = {  # Any: JSON of some kind
            name: int(part) if isinstance(part, np.integer) else part
            for name, part in state.items()
            if name != "version"
        }
        try:
            check_parts(parts)
            shard = parts.pop("shard")
            sizes = Sizes(**{name: parts.pop(name) for name in _SIZES})
            shard = None if shard is None else Shard(**shard)
            return cls(**parts, sizes=sizes, shard=shard)
        except _DAMAGE as error:
            raise _damaged(error) from error

    def check(self, *, most_loose: float = math.inf) -> None:
        """Raise if the numbers contradict each other.

        Parameters
        ----------
        most_loose
            Most minibatches that no full round takes. There is no limit if the sizes
            are known to be those of a Loader.

        Raises
        ------
        StateError
            If they do.
        """
        try:
            check_done(self.done, Dealing(self.length, self.sizes).n_batches)
            self._check_yielded(self._count_share(most_loose))
        except _DAMAGE as error:
            raise _damaged(error) from error

    def _count_share(self, most_loose: float) -> int:
        """Return how many minibatches its shard has; a merged state has none left."""
        if self.shard is None:
            return 0
        share = self.dealing().share(self.shard)
        n_loose = len(share.deal.loose)
        if n_loose > most_loose:
            raise ValueError(
                f"{n_loose:,} minibatches are in no full round of fetches of"
                f" {self.sizes.fetch_factor:,}, and no run has so many"
            )
        return share.n_batches

    def _check_yielded(self, most: int) -> None:
        """Raise if the shard has yielded more than `most` minibatches."""
        if self.yielded > most:
            raise ValueError(f"yielded is {self.yielded} of {most} minibatches")

    def dealing(self) -> Dealing:
        """Return the sizes of the epoch and what was done of it."""
        return Dealing(self.length, self.sizes, union(self.done))

    def check_same(self, other: "State", *, of: str) -> None:
        """Raise unless `other` is a state of the same data, strategy and sizes."""
        for name, words in _SAME.items():
            mine, its = self._part(name), other._part(name)
            if mine != its:
                if name == "data":
                    mine, its = self._describe_data(), other._describe_data()
                raise StateError(f"{of} has another {words}: {its}, not {mine}")

    def _part(self, name: str) -> Any:  # Any: JSON of some kind
        return getattr(self.sizes if name in _SIZES else self, name)

    def _describe_data(self) -> str:
        return f"{self.about or 'one'} (fingerprint {self.data})"


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the states of all ranks and workers into one that any number can load.

    Parameters
    ----------
    states
        What ``loader.state_dict()`` returned on every rank and worker of a run, in any
        order. A single merged state is returned as it is.

    Returns
    -------
    state
        A state for ``load_state_dict`` of any rank and worker of any number of them,
        among whom the rest of the epoch is dealt. Their states can be merged again.

    Raises
    ------
    StateError
        If a rank's or worker's state is missing or given twice, or the states are not
        of one run and epoch.
    TypeError
        If one state is given in place of a list.
    """
    if isinstance(states, Mapping):
        raise TypeError(
            "merge_states takes a list of states, those of all ranks and workers, got"
            " one state; give [state]"
        )
    # What is the same in all states is checked in the first.
    read = [
        State.parse(state) if i else State.from_dict(state)
        for i, state in enumerate(states)
    ]
    if not read:
        raise StateError("merge_states needs the states of all ranks, got none")
    first = read[0]
    if len(read) == 1 and first.shard is None:
        return first.to_dict()
    shards = _check_complete(read)
    for position, state in enumerate(read[1:], start=1):
        first.check_same(state, of=f"state {position}")
        if (state.epoch, state.done) != (first.epoch, first.done):
            raise StateError(
                f"state {position} is of epoch {state.epoch} and state 0 of epoch"
                f" {first.epoch}, or they were dealt from different merged states;"
                " save the states of all ranks after the same step"
            )
    deal = first.dealing().deal(shards[0].world_size)
    shares = AllShares(deal, shards[0].num_workers)
    yielded = np.zeros_like(shares.n_batches)
    for state, shard in zip(read, shards, strict=True):
        try:
            state._check_yielded(int(shares.n_batches[shard.rank, shard.worker]))
        except ValueError as error:
            raise _damaged(error) from error
        yielded[shard.rank, shard.worker] = state.yielded
    return _merge(first, shares, yielded)


def advance_all(
    state: Mapping[str, Any],
    count: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
) -> dict[str, Any]:
    """Return the merged state once all ranks and workers have yielded some minibatches.

    The cost grows with the ranks and workers, and not with what they have yielded.

    Parameters
    ----------
    state
        The state of any of the shards, which all began at the same place.
    count
        Given the minibatches that each worker has in all, an array of shape
        ``(world_size, num_workers)``, it returns how many each has yielded.

    Raises
    ------
    StateError
        If the state is merged, or damaged.
    """
    first = State.parse(state)
    if first.shard is None:
        raise StateError("a merged state belongs to no rank; give that of a shard")
    deal = first.dealing().deal(first.shard.world_size)
    shares = AllShares(deal, first.shard.num_workers)
    return _merge(first, shares, count(shares.n_batches))


def _merge(
    first: State, shares: AllShares, yielded: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Return the merged state of a run, given one state and what was yielded."""
    dealing = first.dealing()
    if (yielded >= shares.n_batches).all():
        # Minibatches that "trim" left out are done too.
        done = union([(0, dealing.n_batches)])
    else:
        try:
            since = shares.done_after(yielded)
        except _DAMAGE as error:
            raise _damaged(error) from error
        done = union(np.concatenate([dealing.done, since]))
    return replace(first, done=done.tolist(), shard=None, yielded=0).to_dict()


def _damaged(error: Exception) -> StateError:
    return StateError(f"the state is damaged: {error}")


def _check_complete(states: Sequence[State]) -> list[Shard]:
    """Return the shards of `states`; raise unless each of a run comes once."""
    shards = [state.shard for state in states if state.shard is not None]
    if len(shards) < len(states):
        raise StateError(
            "a merged state stands among the states to merge; load it on every rank,"
            " and merge what they return"
        )
    sizes = {(shard.world_size, shard.num_workers) for shard in shards}
    if len(sizes) > 1:
        raise StateError(
            "the states are of runs with different (world_size, num_workers):"
            f" {', '.join(map(str, sorted(sizes)))}"
        )
    world_size, num_workers = sizes.pop()
    given = {(shard.rank, shard.worker) for shard in shards}
    n_missing = world_size * num_workers - len(given)
    if n_missing:
        # A damaged state may claim any number of ranks: they are counted one by one.
        missing = (
            (rank, worker)
            for rank in range(world_size)
            for worker in range(num_workers)
            if (rank, worker) not in given
        )
        named = [
            f"rank {rank} worker {worker}"
            for rank, worker in islice(missing, _MOST_NAMED)
        ]
        if n_missing > len(named):
            named.append(f"and {n_missing - len(named):,} others")
        raise StateError(
            f"merge_states needs the states of all {world_size} ranks x {num_workers}"
            f" workers; missing: {', '.join(named)}"
        )
    if len(given) < len(shards):
        raise StateError("a rank's or worker's state is given more than once")
    return shards
