"""The figure of the demo: speed, accuracy by cells, and accuracy by time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from ..checks import install_command
from .comparison import Comparison
from .safe_file import write_whole

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ModuleNotFoundError(
        f"the figure needs matplotlib; install it with `{install_command('cli')}`",
        name="matplotlib",
    ) from error

__all__ = ["save_figure"]

COLORS = ("#b5483a", "#2f6f9f", "#6b7785")


def save_figure(comparison: Comparison, path: str | Path) -> None:
    """Draw a comparison.

    Parameters
    ----------
    comparison
        What :func:`scdataset_core.tools.comparison.compare` returns.
    path
        The .png, .pdf or .svg file, which is written once the drawing is complete.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    rate, by_cells, by_seconds = figure.subplots(1, 3)
    for axes, title in (
        (rate, "cells/s, loading alone"),
        (by_cells, f"accuracy of {comparison.label} on held-out cells"),
        (by_seconds, "the same, by seconds of loading"),
    ):
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    names = [outcome.name.replace(" ", "\n") for outcome in comparison.outcomes]
    rates = [outcome.loading for outcome in comparison.outcomes]
    bars = rate.bar(names, rates, color=COLORS)
    rate.bar_label(bars, [f"{value:,.0f}" for value in rates], fontsize=9)
    rate.yaxis.set_major_formatter("{x:,.0f}")
    for outcome, color in zip(comparison.outcomes, COLORS, strict=True):
        seen, right = zip(*outcome.curve, strict=True)
        seconds = [cells / outcome.loading for cells in seen]
        how = {"color": color, "marker": ".", "label": outcome.name}
        by_cells.plot(seen, right, **how)
        by_seconds.plot(seconds, right, **how)
    for axes in (by_cells, by_seconds):
        axes.axhline(comparison.target, color="black", ls="--", lw=1)
        axes.set(ylim=(0, 1.02), xlim=(0, None))
        axes.yaxis.set_major_formatter("{x:.0%}")
    by_cells.xaxis.set_major_formatter("{x:,.0f}")
    by_cells.locator_params(axis="x", nbins=4)
    by_cells.set_xlabel("cells seen")
    by_seconds.set_xlabel("seconds")
    by_seconds.legend(frameon=False, fontsize=9)
    picture = BytesIO()
    figure.savefig(picture, dpi=150, format=Path(path).suffix[1:])
    write_whole(Path(path), lambda disk: disk.write(picture.getbuffer()))
