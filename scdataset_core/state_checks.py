"""Checks the parts of a state before anything is computed with them."""

from collections.abc import Mapping
from typing import Any

from .checks import check_count, check_seed

__all__ = ["check_done", "check_parts"]

_NEEDED = ("strategy", "seed", "epoch", "length", "yielded", "drop_last", "shard")
_DEPTH = 32  # of the strategy's parameters; a strategy over another takes two levels


def check_parts(parts: Mapping[str, Any]) -> None:
    """Raise unless the parts of a state are of the types that `state_dict` returns.

    Parameters
    ----------
    parts
        The parts by name; what `State` and `Sizes` check themselves is left to them.

    Raises
    ------
    TypeError
        If a part is of another type.
    ValueError
        If a part is missing, a number lies outside its range, or the strategy is
        nested too deep.
    """
    for name in _NEEDED:
        if name not in parts:
            raise ValueError(f"it has no {name}")
    for name in ("data", "about"):
        if not isinstance(parts.get(name, ""), str):
            raise TypeError(f"{name} must be text, got {type(parts[name]).__name__}")
    if not isinstance(parts["drop_last"], bool):
        raise TypeError(f"drop_last must be true or false, got {parts['drop_last']!r}")
    check_seed(parts["seed"])
    for name in ("epoch", "length", "yielded"):
        check_count(name, parts[name], least=0)
    _check_strategy(parts["strategy"])


def check_done(done: Any, n_batches: int) -> None:
    """Raise unless `done` is a list of ranges in ``[0, n_batches)``."""
    if not isinstance(done, list | tuple):
        raise TypeError(f"done must be a list of ranges, got {type(done).__name__}")
    for first, stop in done:
        for edge in (first, stop):
            if isinstance(edge, bool) or not isinstance(edge, int):
                raise TypeError(f"done must hold integers, got {edge!r}")
        if first < 0 or stop > n_batches:  # empty ranges do no harm
            raise ValueError(
                f"done holds minibatches {first} to {stop} of an epoch of {n_batches}"
            )


def _check_strategy(strategy: Any) -> None:
    """Raise unless a strategy is a dict that can be compared and shown."""
    if not isinstance(strategy, Mapping):
        raise TypeError(f"strategy must be a dict, got {type(strategy).__name__}")
    left: list[tuple[Any, int]] = [(strategy, 1)]
    while left:
        held, depth = left.pop()
        if depth > _DEPTH:
            raise ValueError(f"strategy is nested more than {_DEPTH} deep")
        if isinstance(held, Mapping):
            left.extend((inner, depth + 1) for inner in held.values())
        elif isinstance(held, list | tuple):
            left.extend((inner, depth + 1) for inner in held)
