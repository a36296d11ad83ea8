"""Splits files into parts for training and testing, as the command line asks for it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..sources import open as open_source
from ..sources.base import Source
from ..sources.obs.asked_columns import AskedColumn
from ..splits import Split
from ..splits import split as split_source
from .arguments import StorageOptions

__all__ = ["find_conditions", "split"]

_REST = "rest"


def split(
    files: str | Sequence[str],
    parts: Sequence[str],
    out: str | Path,
    *,
    by: Sequence[str] = (),
    stratify: Sequence[str] = (),
    where: Sequence[str] = (),
    block_size: int = 1,
    seed: int = 0,
    storage_options: StorageOptions = None,
) -> dict[str, Any]:
    """Divide the cells of files into parts, and write them to one small file.

    :func:`scdataset_core.load_split` reads the file.

    Parameters
    ----------
    files
        What :func:`scdataset_core.open` takes: a path, a glob or a list of paths.
    parts
        What each part gets: ``"train=0.8"`` a share, ``"train=rest"`` what the others
        leave, ``"test=donor:D3,D7"`` the cells with some labels.
    out
        The file to write.
    by, stratify, block_size, seed
        As for :func:`scdataset_core.split`.
    storage_options
        For URLs, as `open` takes them.
    where
        Only cells that meet these conditions: ``"drug=DMSO,drug01"``, labels or
        numbers; ``"total_counts=500..2000"``, a range, either end of which may be left
        out; ``"drug="``, no label.

    Returns
    -------
    report
        Plain data: the file, the cells of each part, and with `stratify` those of each
        label.

    Raises
    ------
    ValueError
        If the text of a part or condition is none of the above; and whatever
        :func:`scdataset_core.split` raises.
    """
    source = open_source(files, storage_options=storage_options)
    wanted = dict(_part_of(source, text) for text in parts)
    if len(wanted) < len(parts):
        raise ValueError(f"a part is named twice: {', '.join(parts)}")
    rows = source.where(**find_conditions(source, where, "=")) if where else None
    found = split_source(
        source,
        wanted,
        by=by,
        stratify=stratify,
        within=rows,
        block_size=block_size,
        seed=seed,
    )
    found.save(out)
    return _report(found, out)


def _report(found: Split, out: str | Path) -> dict[str, Any]:
    report: dict[str, Any] = {
        "file": str(out),
        "n_cells": len(found.within),
        "parts": {name: len(rows) for name, rows in found.items()},
    }
    if found.stratify:
        report["labels"] = {
            part: {_text_of(label): n for label, n in counts.items()}
            for part, counts in found.table().items()
        }
    return report


def _text_of(label: Any) -> str:
    labels = label if isinstance(label, tuple) else (label,)
    return " / ".join("(missing)" if part is None else str(part) for part in labels)


def _part_of(source: Source, text: str) -> tuple[str, Any]:
    """Return the name of a part, and what it gets."""
    name, sign, wanted = text.partition("=")
    if not (name and sign and wanted):
        raise ValueError(
            f"a part is given as train=0.8, train={_REST} or test=COLUMN:LABEL,LABEL,"
            f" got {text!r}"
        )
    if wanted == _REST:
        return name, None
    if ":" in wanted:
        return name, find_conditions(source, [wanted], ":")
    try:
        return name, float(wanted)
    except ValueError as error:
        raise ValueError(
            f"a part gets a share such as 0.8, {_REST}, or COLUMN:LABEL,LABEL, got"
            f" {text!r}"
        ) from error


def find_conditions(
    source: Source, texts: Iterable[str], sign: str
) -> Mapping[str, Any]:
    """Return conditions for :meth:`Source.where` from text: ``"drug=DMSO,drug01"``.

    Parameters
    ----------
    source
        Its columns say what is a number.
    texts
        The conditions, each on another column.
    sign
        What stands between a column and its values.
    """
    pairs = [text.partition(sign) for text in texts]
    for text, (name, found, _) in zip(texts, pairs, strict=True):
        if not (name and found):
            raise ValueError(f"a condition is COLUMN{sign}LABEL,LABEL, got {text!r}")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"conditions name a column twice: {', '.join(names)}")
    columns = source.find_columns(names)
    return {name: _condition(columns[name], values) for name, _, values in pairs}


def _condition(column: AskedColumn, text: str) -> Any:
    if not text:
        return None
    labels = column.labels
    is_number = labels is None or not isinstance(next(iter(labels), ""), str)
    if ".." in text and (is_number or column.is_ordered):
        low, _, high = text.partition("..")
        return tuple(
            _value(column, end, is_number) if end else None for end in (low, high)
        )
    if labels is None or is_number:
        return [_value(column, part, is_number) for part in text.split(",")]
    return _labels_in(text, [str(label) for label in labels], column.name)


def _labels_in(text: str, labels: Sequence[str], name: str) -> list[str]:
    """Return the labels that a text lists, with commas between and maybe in them."""
    pieces, known = text.split(","), set(labels)
    longest = 1 + max((label.count(",") for label in labels), default=0)
    found: list[str] = []
    at = 0
    while at < len(pieces):
        ends = [
            end
            for end in range(at + 1, min(at + longest, len(pieces)) + 1)
            if ",".join(pieces[at:end]) in known
        ]
        if len(ends) > 1 and known.issuperset(pieces[at : ends[-1]]):
            both = ",".join(pieces[at : ends[-1]])
            raise ValueError(
                f'obs column "{name}" has the label {both!r}, and labels of which it'
                " could be a list; name them in another order, or use source.where"
            )
        end = ends[-1] if ends else at + 1  # `where` says which label there is not
        found.append(",".join(pieces[at:end]))
        at = end
    return found


def _value(column: AskedColumn, text: str, is_number: bool) -> Any:
    """Return a label or number that was given as text."""
    if not is_number:
        return text
    if column.dtype.kind == "b" or text in ("True", "False"):
        known = {"true": True, "false": False}.get(text.lower())
        if known is None:
            raise ValueError(
                f'obs column "{column.name}" holds booleans: give true or false, got'
                f" {text!r}"
            )
        return known
    try:
        return int(text)  # not by way of a float, which holds no large ones
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise ValueError(
            f'obs column "{column.name}" holds numbers, got {text!r}'
        ) from None
    if number != number:
        raise ValueError(
            f'obs column "{column.name}": no number equals {text}; give nothing for'
            " cells that lack one"
        )
    return int(number) if number.is_integer() else number
