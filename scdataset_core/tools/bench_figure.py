"""Draws what `bench` found: panels that a picture and a page both show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import install_command
from .bench_tables import compared_settings, grid_of, libraries_of, short_rate
from .safe_file import write_whole

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ModuleNotFoundError(
        f"figures need matplotlib; install it with `{install_command('cli')}`",
        name="matplotlib",
    ) from error

__all__ = ["Panel", "panels_of", "save_picture"]

INK = "#010203"  # stands for the text colour of the page, which may be light or dark
COLORS = ("#2f6f9f", "#b5483a", "#6b7785", "#b08a2e")
PANEL_INCHES = (4.6, 3.3)
SIZE = 12


@dataclass(frozen=True)
class Panel:
    """A drawing of one part of a report.

    Parameters
    ----------
    name
        What part it is of: ``"speed"``, ``"cache"``, ``"entropy"``, ``"threads"`` or
        ``"against"``.
    title
        What stands above it.
    draw
        Draws it.
    """

    name: str
    title: str
    draw: Callable[[Axes], None]

    def to_svg(self, description: str) -> str:
        """Return it as an SVG element for a page, in the page's colour of text.

        Parameters
        ----------
        description
            What it shows, for those who cannot see it.
        """
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            figure = Figure(figsize=PANEL_INCHES, layout="constrained")
            axes = figure.subplots()
            _paint(axes)
            self.draw(axes)
            figure.patch.set_visible(False)
            text = StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
        return _inline(text.getvalue(), self.name, description)


def panels_of(report: dict[str, Any]) -> list[Panel]:
    """Return the drawings of a report, those that it has data for."""
    panels = [
        Panel("speed", "Cells a second", lambda axes: _heat(axes, report["grid"]))
    ]
    if report["cache"] is not None:
        panels.append(
            Panel(
                "cache",
                "Cells a second, from the cache",
                lambda axes: _heat(axes, report["cache"]["grid"]),
            )
        )
    if report["label"] is not None:
        panels.append(
            Panel(
                "entropy",
                f"Entropy of {report['label']}",
                lambda axes: _heat(axes, report["grid"], "measured_entropy"),
            )
        )
    panels.append(
        Panel("threads", "Threads", lambda axes: _threads(axes, report["threads"]))
    )
    if compared_settings(report):
        panels.append(
            Panel("against", "Other libraries", lambda axes: _against(axes, report))
        )
    return panels


def save_picture(report: dict[str, Any], path: str | Path) -> None:
    """Draw all panels of a report side by side.

    Parameters
    ----------
    report
        What :func:`scdataset_core.tools.bench` returns.
    path
        The .png, .pdf or .svg file, which is written once the drawing is complete.
    """
    panels = panels_of(report)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height + 0.3), layout="constrained")
    for axes, panel in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        axes.set_title(panel.title, fontsize=SIZE)
        panel.draw(axes)
    picture = BytesIO()
    figure.savefig(picture, dpi=130, format=Path(path).suffix[1:])
    write_whole(Path(path), lambda disk: disk.write(picture.getbuffer()))


def _paint(axes: Axes) -> None:
    """Draw lines and texts in the colour that stands for the page's."""
    axes.tick_params(colors=INK)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(INK)


def _inline(svg: str, name: str, description: str) -> str:
    """Return matplotlib's SVG as an element of a page that asks for nothing."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\s+width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\s+height="[^"]*"', r"\1", svg, count=1)
    # Names of one drawing must not be those of another on the page.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    svg = svg.replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _heat(
    axes: Axes, grid: Sequence[dict[str, Any]], value: str = "cells_per_s"
) -> None:
    """Draw a grid of b and f, with its numbers."""
    blocks, fetches, found = grid_of(grid, value)
    numbers = np.array(
        [[np.nan if one is None else one for one in row] for row in found]
    )
    share = value == "measured_entropy"
    shown = np.ma.masked_invalid(numbers)
    low, high = (0.0, 1.0) if share else (0.0, float(np.nanmax(numbers)))
    axes.pcolormesh(shown, cmap="YlGnBu", vmin=low, vmax=high, edgecolors="none")
    axes.invert_yaxis()
    for i, row in enumerate(found):
        for j, one in enumerate(row):
            if one is not None:
                dark = one > low + 0.55 * (high - low)
                axes.text(
                    j + 0.5,
                    i + 0.5,
                    f"{min(one, 1.0):.0%}" if share else short_rate(one),
                    ha="center",
                    va="center",
                    fontsize=SIZE - 1,
                    color="white" if dark else "black",
                )
    axes.set_xticks(np.arange(len(fetches)) + 0.5, [str(f) for f in fetches])
    axes.set_yticks(np.arange(len(blocks)) + 0.5, [str(b) for b in blocks])
    axes.set_xlabel("fetch factor f", fontsize=SIZE)
    axes.set_ylabel("block size b", fontsize=SIZE)
    axes.tick_params(labelsize=SIZE - 1, length=0)
    axes.spines[:].set_visible(False)


def _threads(axes: Axes, threads: Sequence[dict[str, Any]]) -> None:
    names = [str(one["threads"]) for one in threads]
    _bars(axes, names, {"": [one["cells_per_s"] for one in threads]})
    axes.set_xlabel("threads that read", fontsize=SIZE)


def _against(axes: Axes, report: dict[str, Any]) -> None:
    settings = compared_settings(report)
    rates = {
        name: [by_setting.get(one) for one in settings]
        for name, by_setting in libraries_of(report).items()
    }
    _bars(axes, [f"b={b}\nf={f}" for b, f in settings], rates)
    axes.legend(
        frameon=False, fontsize=SIZE - 2, labelcolor=axes.xaxis.label.get_color()
    )


def _bars(
    axes: Axes, names: Sequence[str], rates: dict[str, list[float | None]]
) -> None:
    """Draw bars beside each other, with their numbers."""
    width = 0.8 / len(rates)
    ink = axes.xaxis.label.get_color()
    for number, (name, values) in enumerate(rates.items()):
        places = [
            i + (number - (len(rates) - 1) / 2) * width for i in range(len(values))
        ]
        bars = axes.bar(
            places,
            [value or 0.0 for value in values],
            width * 0.92,
            color=COLORS[number % len(COLORS)],
            label=name or None,
        )
        texts = [short_rate(value) if value else "" for value in values]
        axes.bar_label(bars, texts, fontsize=SIZE - 3, color=ink)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("cells a second", fontsize=SIZE)
    axes.yaxis.set_major_formatter(lambda value, _: short_rate(value))
    axes.tick_params(labelsize=SIZE - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)
