"""The epochs of a Loader: the order, the plan and the state of each."""

import warnings
from dataclasses import dataclass
from typing import Any

from .buckets import Buckets
from .collection import describe_collection, find_fingerprint
from .dealing import Dealing
from .errors import StateError
from .orders import Order
from .permutation import Purpose, derive_key
from .plan import Plan
from .position import Position, Start
from .ranges import NOTHING_DONE, union
from .shares import Shard
from .sizes import Sizes
from .state import State
from .strategy_orders import describe_strategy, order_of

__all__ = ["EpochOrders", "Epochs"]


class EpochOrders:
    """The order of each epoch of a run; the latest one is kept.

    The copies of a Loader that :meth:`Loader.shard` makes share it. Threads may too.

    Parameters
    ----------
    source
        What the rows are drawn from. Any: a Source, or any object with ``len()`` and
        ``obj[rows]``.
    strategy
        Which rows an epoch has. Any: of this library, of 0.3, or the user's own.
    seed
        Key of all randomness.
    buckets
        How the rows of a fetch are put together by length, if they are.
    """

    def __init__(
        self, source: Any, strategy: Any, seed: int, buckets: Buckets | None = None
    ) -> None:
        self.source = source
        self.strategy = strategy
        self.seed = seed
        self.buckets = buckets
        self._latest: tuple[int, Order] | None = None
        self._description: dict[str, Any] | None = None

    def order(self, epoch: int) -> Order:
        """Return the order of an epoch."""
        latest = self._latest  # another thread may replace it meanwhile
        if latest is None or latest[0] != epoch:
            order = order_of(self.strategy, self.source, seed=self.seed, epoch=epoch)
            if self.buckets is not None:
                order = self.buckets.arrange_fetches(order)
            self._latest = latest = epoch, order
        return latest[1]

    def describe_strategy(self) -> dict[str, Any]:
        """Return the name and the parameters of the strategy, for states."""
        if self._description is None:
            self._description = describe_strategy(self.strategy, self.source)
            if self.buckets is not None:  # they decide what a minibatch holds
                self._description |= self.buckets.describe()
        return self._description

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}


@dataclass(frozen=True)
class Epochs:
    """What is the same for every epoch, rank and worker of a run.

    Parameters
    ----------
    orders
        The order of each epoch.
    sizes
        How the rows of an epoch are cut into minibatches and fetches.
    """

    orders: EpochOrders
    sizes: Sizes

    def dealing(self, epoch: int, position: Position | None = None) -> Dealing:
        """Return how an epoch, or what is left of it, is divided."""
        done = NOTHING_DONE if position is None else position.done
        return Dealing(len(self.orders.order(epoch)), self.sizes, done)

    def plan(self, position: Position, shard: Shard) -> Plan:
        """Return what one rank and worker reads from where an epoch stands."""
        order = self.orders.order(position.epoch)
        default = derive_key(self.orders.seed, position.epoch, Purpose.SHUFFLE)
        return Plan(
            order,
            **vars(self.sizes),
            **vars(shard),
            done=position.done,
            key=getattr(order, "key", default),
        )

    def whole_plan(self, epoch: int) -> Plan:
        """Return the plan of a whole epoch, divided among nobody."""
        return self.plan(Position(epoch), Shard())

    def first_position(self, start: Start, shard: Shard) -> Position:
        """Return where an iteration begins: the next epoch follows a finished one."""
        position = start.position
        if not start.is_loaded or start.is_held:
            return position
        if start.is_merged:  # all workers of a rank agree on whether it has finished
            shard = Shard(shard.rank, shard.world_size)
        n_batches = self.dealing(position.epoch, position).share(shard).n_batches
        if position.yielded >= n_batches:
            return Position(position.epoch + 1)
        return position

    def state(self, position: Position, shard: Shard) -> State:
        """Return the state of a rank and worker that stands at `position`."""
        return State(
            data=find_fingerprint(self.orders.source),
            about=describe_collection(self.orders.source),
            strategy=self.orders.describe_strategy(),
            seed=self.orders.seed,
            epoch=position.epoch,
            length=len(self.orders.order(position.epoch)),
            sizes=self.sizes,
            done=position.done.tolist(),
            shard=shard,
            yielded=position.yielded,
        )

    def start_from(self, state: State, shard: Shard) -> Start:
        """Return where one rank and worker begins that a state is loaded into.

        Raises
        ------
        StateError
            If the state is of another data set, strategy, seed, size or shard, or its
            numbers contradict each other.
        """
        self.state(Position(state.epoch), shard).check_same(state, of="the state")
        if state.shard is not None and state.shard != shard:
            raise StateError(
                f"the state is of {state.shard}, and this loader is {shard}; merge the"
                " states of all ranks and workers with merge_states, and load the"
                " merged one"
            )
        state.check()  # not before: it takes the sizes at their word
        position = Position(state.epoch, union(state.done), state.yielded)
        return Start(position, is_loaded=True, is_merged=state.shard is None)

    def warn_if_empty(self, epoch: int, world_size: int, *, stacklevel: int) -> None:
        """Warn where no rank would yield anything, and name the cause.

        A strategy with a true attribute ``may_be_empty`` is never warned of.
        """
        strategy = self.orders.strategy
        if getattr(strategy, "may_be_empty", False):
            return
        reason = self.dealing(epoch).why_empty(world_size)
        if len(self.orders.order(epoch)) == 0 and getattr(strategy, "drop_last", False):
            reason = (
                "a block is larger than the data, and the strategy's drop_last=True"
                " leaves a short one out; give a smaller block_size, or drop_last=False"
            )
        if reason is not None:
            warnings.warn(
                f"epoch {epoch} of this Loader has no minibatch: {reason}"
                f" ({strategy!r} over {describe_collection(self.orders.source)})",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
