"""The verdict of the demo: a table of the results, and sentences about them."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from .comparison import Comparison

__all__ = ["conclusions", "table"]

LEARNED_LEAST = 0.05  # accuracy beyond that of always giving the most common label


def table(comparison: Comparison, *, lines: bool) -> Table:
    """Return the comparison as a table, 80 columns wide at most.

    Parameters
    ----------
    comparison
        What :func:`scdataset_core.tools.comparison.compare` returns.
    lines
        Whether to draw lines, as for terminals.
    """
    shown = Table(box=box.SIMPLE_HEAD if lines else None, pad_edge=False)
    shown.add_column("order\n", no_wrap=True)
    names = ["block x\nfetch", "cells/s,\nloading", "entropy,\nbits"]
    names.append("held-out\naccuracy")
    if comparison.too_few is None:
        names.append(f"{comparison.target:.0%} after\nloading for")
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    for outcome in comparison.outcomes:
        row = [
            outcome.name,
            f"{outcome.block_size or '-'} x {outcome.fetch_factor}",
            f"{outcome.loading:,.0f}",
            f"{outcome.entropy:.2f}",
            f"{outcome.accuracy:.1%}",
        ]
        if comparison.too_few is None:
            reached = outcome.seconds_to(comparison.target)
            row.append("never" if reached is None else _format_seconds(reached))
        shown.add_row(*row)
    return shown


def conclusions(comparison: Comparison) -> Iterator[str]:
    """Yield short texts: what the numbers are, remarks, and what the numbers show."""
    if comparison.too_few is not None:
        yield f"Nothing can be said of the orders: {comparison.too_few}."
    text = (
        f"One epoch of a linear classifier of {comparison.label}, which has"
        f" {comparison.n_classes} labels: {comparison.n_train:,} cells in minibatches"
        f" of {comparison.batch_size}. Entropy is that of the labels in a minibatch;"
        f" cells drawn one by one have {comparison.random_entropy:.2f} bits. Accuracy"
        f" is that on {comparison.n_held_out:,} held-out cells of"
        f" {comparison.plate or 'all plates'}, of which {comparison.majority:.0%} have"
        " the most common label."
    )
    if comparison.too_few is None:
        text += " The last column leaves the time of training out."
    yield text
    for note in comparison.notes:
        yield f"Note: {note}."
    if comparison.too_few is None:
        yield _conclude(comparison)


def _conclude(comparison: Comparison) -> str:
    in_order, in_blocks, at_random = comparison.outcomes
    best = max(outcome.accuracy for outcome in comparison.outcomes)
    if best < comparison.majority + LEARNED_LEAST:
        return f"No order learned {comparison.label} in one epoch."
    faster = in_blocks.loading / at_random.loading
    text = (
        f"Block sampling loads {faster:.1f} times as many cells a second as true random"
        f" order, and its model is at {in_blocks.accuracy:.1%}, not"
        f" {at_random.accuracy:.1%}."
    )
    soon, late = (way.seconds_to(comparison.target) for way in (in_blocks, at_random))
    if soon is not None and late is not None:
        text += (
            f" It comes to {comparison.target:.0%} after {_format_seconds(soon)} of"
            f" loading, random order after {_format_seconds(late)}."
        )
    if in_order.seconds_to(comparison.target) is None:
        text += (
            f" File order never comes to {comparison.target:.0%}: it ends at"
            f" {in_order.accuracy:.1%}."
        )
    return text


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
