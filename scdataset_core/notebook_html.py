"""Small HTML tables, as notebooks show objects of this library."""

import re
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_of_text", "html_table"]

_CELL = 'style="text-align:left;vertical-align:top;padding:1px 12px 1px 0"'


def html_table(title: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a table under a title; everything is escaped.

    Parameters
    ----------
    title
        What stands above it.
    rows
        The cells of each row; the first of a row is set in bold.

    Examples
    --------
    >>> print(html_table("Part <a>", [("cells", "5")]).count("<td"))
    2
    """
    shown = []
    for row in rows:
        first, *others = (escape(cell) for cell in row)
        cells = [f"<td {_CELL}><b>{first}</b></td>"]
        cells += [f"<td {_CELL}>{cell}</td>" for cell in others]
        shown.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div><div>{escape(title)}</div><table>{''.join(shown)}</table></div>"


def html_of_text(text: str) -> str:
    """Return the lines of a `repr` as a table: a title, then ``name: value`` lines.

    Lines that are indented more than the one before go on with it.

    Parameters
    ----------
    text
        The lines; those after the first are indented.
    """
    title, *lines = text.splitlines() or [""]
    whole: list[str] = []
    for line in lines:
        if line.startswith("    ") and whole:
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line.strip())
    rows = []
    for line in whole:
        name, colon, value = line.partition(": ")
        if colon and len(name) < 40:
            rows.append([name, value])
        else:
            rows.append([cell for cell in re.split(r"\s{2,}", line) if cell])
    return html_table(title, [row for row in rows if row])
