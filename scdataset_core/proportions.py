"""Proportions as integers, so that shares of cells are exact."""

import math
from collections.abc import Sequence
from fractions import Fraction

__all__ = ["as_fraction", "find_integers"]

# A number of cells times a weight must fit into 64 bits.
_MOST_WEIGHT = 1 << 30
_MOST_DENOMINATOR = 10**6


def as_fraction(number: float) -> Fraction:
    """Return the fraction that a number was meant as: 0.1 is one tenth."""
    return Fraction(number).limit_denominator(_MOST_DENOMINATOR)


def find_integers(proportions: Sequence[float]) -> list[int]:
    """Return integers in the given proportions; short decimals and ratios are exact."""
    given = [float(part) for part in proportions]
    for part in given:
        if not (math.isfinite(part) and part > 0):
            raise ValueError(
                f"proportions must be positive numbers, got {part}; leave out a source"
                " that is not wanted"
            )
    parts = [as_fraction(part) for part in given]
    scale = math.lcm(*(part.denominator for part in parts))
    whole = [int(part * scale) for part in parts]
    weights = [part // max(math.gcd(*whole), 1) for part in whole]
    if sum(weights) <= _MOST_WEIGHT and all(weights):
        return weights
    total = sum(given)
    return [max(1, round(part / total * (_MOST_WEIGHT // 2))) for part in given]
