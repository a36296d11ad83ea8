"""The order of an epoch, from a strategy of this library, of 0.3, or of a user."""

from typing import Any

from .checks import count_rows
from .order_checks import CheckedOrder, check_order
from .orders import Order
from .strategies import Strategy
from .strategies_03 import LegacyOrder, LegacyStrategy, describe_attributes

__all__ = ["check_is_instance", "describe_strategy", "order_of"]


def check_is_instance(strategy: object) -> None:
    """Raise TypeError for a class in place of an instance of it."""
    if isinstance(strategy, type):
        raise TypeError(
            f"strategy is the class {strategy.__name__}; give an instance of it:"
            f" {strategy.__name__}(...)"
        )


def order_of(
    strategy: object, collection: Any, *, seed: int, epoch: int
) -> CheckedOrder:
    """Return the order of an epoch from a strategy of this library or of 0.3, checked.

    Raises
    ------
    TypeError
        If `strategy` is neither.
    """
    check_is_instance(strategy)
    name = type(strategy).__name__
    n_source = count_rows(collection)
    order: Order
    if isinstance(strategy, Strategy):
        order = strategy.order(collection, seed=seed, epoch=epoch)
    elif isinstance(strategy, LegacyStrategy):
        order = LegacyOrder(strategy, collection, seed=seed, epoch=epoch)
    else:
        raise TypeError(
            "strategy must have a method order(source, *, seed, epoch), or get_indices"
            f" as in scdataset 0.3, got {name}"
        )
    return check_order(order, name=name, n_source=n_source)


def describe_strategy(strategy: Any, collection: Any) -> dict[str, Any]:
    """Return the name and the parameters of a strategy, for states.

    Of a user's own that has no method `describe` it is the name alone.
    """
    if hasattr(strategy, "describe"):
        return dict(strategy.describe(collection))
    if isinstance(strategy, LegacyStrategy) and not isinstance(strategy, Strategy):
        return describe_attributes(strategy)
    return {"name": type(strategy).__name__}
