"""The demo's figure: how fast, how mixed, how well learned, side by side."""

from __future__ import annotations

from pathlib import Path

from .demo import Comparison

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ModuleNotFoundError(
        "the figure needs matplotlib; install it with"
        " `pip install 'scdataset-core[cli]'`",
        name="matplotlib",
    ) from error

__all__ = ["save_figure"]

COLORS = ("#b5483a", "#2f6f9f", "#6b7785")


def save_figure(comparison: Comparison, path: str | Path) -> None:
    """Draw a comparison as a PNG.

    Parameters
    ----------
    comparison
        What :func:`scdataset_core.tools.demo.compare` returns.
    path
        The file to write.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    rate, entropy, accuracy = figure.subplots(1, 3)
    names = [outcome.name.replace(" ", "\n") for outcome in comparison.outcomes]
    for axes, title in (
        (rate, "cells/s, loading alone"),
        (entropy, f"entropy of {comparison.label} in a minibatch, bits"),
        (accuracy, "held-out accuracy"),
    ):
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    rates = [outcome.loading for outcome in comparison.outcomes]
    bars = rate.bar(names, rates, color=COLORS)
    rate.bar_label(bars, [f"{value:,.0f}" for value in rates], fontsize=9)
    entropy.bar(
        names,
        [outcome.entropy for outcome in comparison.outcomes],
        yerr=[outcome.entropy_std for outcome in comparison.outcomes],
        color=COLORS,
    )
    entropy.axhline(comparison.random_entropy, color="black", ls="--", lw=1)
    rate.yaxis.set_major_formatter("{x:,.0f}")
    accuracy.xaxis.set_major_formatter("{x:,.0f}")
    for outcome, color in zip(comparison.outcomes, COLORS, strict=True):
        seen, right = zip(*((0, float("nan")), *outcome.curve), strict=True)
        accuracy.plot(seen, right, color=color, marker=".", label=outcome.name)
    accuracy.set(xlabel="cells seen", ylim=(0, 1.02))
    accuracy.legend(frameon=False, fontsize=9)
    figure.savefig(Path(path), dpi=150, format="png")
