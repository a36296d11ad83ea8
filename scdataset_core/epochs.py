"""The epochs of a Loader: order, sizes and plan of each, by its number."""

import warnings
from dataclasses import dataclass, field
from typing import Any

from .collection import described, fingerprint_of
from .dealing import Dealing, Shard, Uneven, union
from .orders import Order
from .permutation import Purpose, derive_key
from .plan import Plan
from .state import Progress, State
from .strategies_03 import order_of

__all__ = ["NOTHING_DONE", "Epochs"]

NOTHING_DONE = union([])


@dataclass(frozen=True)
class Epochs:
    """What is the same for every epoch, rank and worker of a run.

    Parameters
    ----------
    source
        What is drawn from. Any: a Source, or any object with ``len()`` and
        ``obj[rows]``.
    strategy
        Which rows an epoch has. Any: of this library, of 0.3, or the user's own.
    seed
        Key of all randomness.
    batch_size, fetch_factor, drop_last, uneven
        As given to the Loader.
    made
        What is kept: the latest order, and what the strategy said of itself.
    """

    source: Any
    strategy: Any
    seed: int
    batch_size: int
    fetch_factor: int
    drop_last: bool
    uneven: Uneven
    made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def order(self, epoch: int) -> Order:
        """Return the rows of an epoch; the latest is kept."""
        held: tuple[int, Order] | None = self.made.get("order")  # threads replace it
        if held is None or held[0] != epoch:
            order = order_of(self.strategy, self.source, seed=self.seed, epoch=epoch)
            self.made["order"] = held = epoch, order
        return held[1]

    def dealing(self, epoch: int, progress: Progress | None = None) -> Dealing:
        """Return how an epoch, or what is left of it, is divided."""
        return Dealing(
            len(self.order(epoch)),
            self.batch_size,
            self.fetch_factor,
            self.drop_last,
            self.uneven,
            NOTHING_DONE if progress is None else progress.done,
        )

    def plan(self, progress: Progress, shard: Shard) -> Plan:
        """Return what one rank and worker reads from where an epoch stands."""
        order = self.order(progress.epoch)
        default = derive_key(self.seed, progress.epoch, Purpose.SHUFFLE)
        return Plan(
            order,
            batch_size=self.batch_size,
            fetch_factor=self.fetch_factor,
            drop_last=self.drop_last,
            uneven=self.uneven,
            rank=shard.rank,
            world_size=shard.world_size,
            worker=shard.worker,
            num_workers=shard.num_workers,
            done=progress.done,
            key=getattr(order, "key", default),
        )

    def whole_plan(self, epoch: int) -> Plan:
        """Return the plan of a whole epoch, divided among nobody."""
        return self.plan(Progress(epoch, NOTHING_DONE), Shard())

    def state(self, progress: Progress, shard: Shard) -> State:
        """Return the state of a rank and worker that stands at `progress`."""
        return State(
            data=fingerprint_of(self.source),
            about=described(self.source),
            strategy=self._describe_strategy(),
            seed=self.seed,
            epoch=progress.epoch,
            length=len(self.order(progress.epoch)),
            batch_size=self.batch_size,
            fetch_factor=self.fetch_factor,
            drop_last=self.drop_last,
            uneven=self.uneven,
            done=progress.done.tolist(),
            shard=shard,
            yielded=progress.yielded,
        )

    def _describe_strategy(self) -> dict[str, Any]:
        said: dict[str, Any] | None = self.made.get("strategy")
        if said is None:
            describe = getattr(self.strategy, "describe", None)
            name = {"name": type(self.strategy).__name__}
            said = name if describe is None else dict(describe(self.source))
            self.made["strategy"] = said
        return said

    def warn_if_empty(self, epoch: int, world_size: int, *, stacklevel: int) -> None:
        """Warn, naming the cause, where no rank would yield anything.

        A strategy with a true attribute ``may_be_empty`` is let be.
        """
        if getattr(self.strategy, "may_be_empty", False):
            return
        reason = self.dealing(epoch).why_empty(world_size)
        if len(self.order(epoch)) == 0 and getattr(self.strategy, "drop_last", False):
            reason = (
                "a block is larger than the data, and the strategy's drop_last=True"
                " leaves a short one out; give a smaller block_size, or drop_last=False"
            )
        if reason is not None:
            warnings.warn(
                f"epoch {epoch} of this Loader has no minibatch: {reason}"
                f" ({self.strategy!r} over {described(self.source)})",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
