"""Writes what `bench` found as one HTML page that asks for nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .bench_figure import panels_of
from .bench_tables import Table, notes_on, tables_of
from .safe_file import write_whole

__all__ = ["page_of", "save_page"]

_STYLE = """
:root { color-scheme: light dark; --line: #c8ccd2; --soft: #f3f5f7; --ink: #16191d;
  --back: #ffffff; --link: #1f5f8f; }
@media (prefers-color-scheme: dark) { :root { --line: #444b54; --soft: #22272d;
  --ink: #e6e9ec; --back: #15181c; --link: #7fb6dd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 46rem; padding: 1rem; color: var(--ink);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
.best { font-size: 1.1rem; }
figure { margin: 0; }
ul { padding-left: 1.2rem; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
.scroll { overflow-x: auto; position: relative; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; padding: 0.25rem 0; }
section[id]:not(#conditions) caption { position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%); }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line);
  text-align: right; white-space: nowrap; }
th[scope=row] { text-align: left; }
.wide td { white-space: normal; text-align: left; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: 0.75rem; overflow-x: auto;
  font-size: 0.85rem; overflow-wrap: normal; }
"""
# The page needs no script, and may load nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def save_page(report: dict[str, Any], path: str | Path) -> None:
    """Write the page of a report.

    Parameters
    ----------
    report
        What :func:`scdataset_core.tools.bench` returns.
    path
        The .html file, which is written once it is complete.
    """
    text = page_of(report).encode()
    write_whole(Path(path), lambda disk: disk.write(text))


def page_of(report: dict[str, Any]) -> str:
    """Return a page: what is best, drawings, tables, how it was measured."""
    data, best = report["data"], report["best"]
    title = f"scdataset bench: {_name_of(data['files'])}"
    drawings = {panel.name: panel for panel in panels_of(report)}
    sections = []
    for table in tables_of(report):
        name, heading, *_ = table
        drawing = drawings[name].to_svg(escape(f"{heading}; the table below has it"))
        sections.append(
            f'<section id="{name}"><h2>{escape(heading)}</h2>'
            f"<figure>{drawing}</figure>{_table(table)}</section>"
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in notes_on(report))
    speed = f"{best['cells_per_s']:,.0f} cells a second"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>{data["cells"]:,} cells x {data["genes"]:,} genes,
{data["stored_per_cell"]:,.0f} stored values a cell, minibatches of
{report["batch_size"]}.</p>
<p class="best">Quickest of those that mix well: blocks of {best["block_size"]} cells,
fetches of {best["fetch_factor"]} minibatches, <strong>{speed}</strong>.</p>
<pre tabindex="0"><code>{escape(report["line"])}</code></pre>
<ul>{notes}</ul>
{"".join(sections)}
<section id="conditions"><h2>How it was measured</h2>
<p>Settings were timed by turns, from the end of one fetch to the end of another, and
the quickest turn counts. Files were read as the system had them: what was read before
may have come from memory and not from the disk. It took
{report["seconds"]:,.0f} seconds in all.</p>
{_pairs("Machine", report["machine"].items())}
{_pairs("Arrays of X", [(a["name"], _array(a)) for a in data["arrays"]])}
</section>
</main>
</body>
</html>
"""


def _name_of(files: Sequence[str]) -> str:
    if not files:
        return "data in memory"
    first = Path(files[0]).name
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _array(array: dict[str, Any]) -> str:
    codec = array["codec"]
    return f"{array['dtype']}, {'not compressed' if codec == 'none' else codec}"


def _table(table: Table) -> str:
    """Return a table whose rows and columns have heads, in a box that can scroll."""
    _, title, head, rows = table
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in pairs
    )
    return (
        f'<table class="wide"><caption>{escape(title)}</caption>'
        f"<tbody>{lines}</tbody></table>"
    )
