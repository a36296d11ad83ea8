"""Counts of cells by part and label: a dict that prints as a table."""

from typing import Any

from ..notebook_html import html_table

__all__ = ["CountTable"]

_MOST_LINES = 40


class CountTable(dict[str, Any]):  # Any: a count, or a dict of counts by label
    """Counts by part, or by part and label. It is a dict, and prints as a table."""

    def __repr__(self) -> str:
        lines = self._lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        return html_table("Cells by part", self._lines())

    def _lines(self) -> list[list[str]]:
        """Return the cells of the table: the parts, then a line for each label."""
        parts = list(self)
        if not any(isinstance(counts, dict) for counts in self.values()):
            rows = [["cells", *(f"{self[part]:,}" for part in parts)]]
        else:
            labels = list(
                dict.fromkeys(label for part in parts for label in self[part])
            )
            rows = [
                [_name(label), *(f"{self[part].get(label, 0):,}" for part in parts)]
                for label in labels[:_MOST_LINES]
            ]
            if len(labels) > _MOST_LINES:
                rest = [f"({len(labels) - _MOST_LINES:,} more labels)"]
                rows.append(rest + [""] * len(parts))
            totals = [f"{sum(self[part].values()):,}" for part in parts]
            rows.append(["all", *totals])
        return [["", *parts], *rows]


def _name(label: Any) -> str:
    labels = label if isinstance(label, tuple) else (label,)
    return ", ".join("(missing)" if part is None else str(part) for part in labels)
