"""Files of splits: the rows of each part, and which data they are of."""

import json
import operator
import os
import zipfile
import zlib
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..bits import WORD
from ..checks import count_rows, digest
from ..collection import describe_collection, find_fingerprint
from ..errors import FileFormatError
from ..row_sets import RowSet
from ..sources.base import Source

__all__ = ["StoredSplit", "read_split", "write_split"]

_VERSION = 1
_SAMPLE_ROWS = 64  # rows of X that a fingerprint looks at


class StoredSplit(NamedTuple):
    """What a file holds of a split; see :class:`scdataset_core.splits.Split`."""

    parts: dict[str, RowSet]
    by: tuple[str, ...]
    stratify: tuple[str, ...]


def write_split(split: StoredSplit, source: Any, path: Path) -> None:
    """Write a split of a source; the file appears when it is complete."""
    parts = split.parts
    n_rows = next(iter(parts.values())).n_rows
    within = reduce(operator.or_, parts.values())
    facts = {
        "format": "scdataset-core split",
        "version": _VERSION,
        "n_rows": n_rows,
        "fingerprint": _fingerprint_of_cells(source),
        "about": describe_collection(source).splitlines()[0],
        "parts": list(parts),
        "counts": [len(rows) for rows in parts.values()],
        "by": split.by,
        "stratify": split.stratify,
    }
    # The largest part is what the others leave of all: rows that are dealt at random
    # hardly get smaller by compression.
    largest = max(parts, key=lambda name: len(parts[name]))
    arrays: dict[str, Any] = {
        f"part{i}": rows.words
        for i, (name, rows) in enumerate(parts.items())
        if name != largest
    }
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, facts=text, within=within.words, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_split(name: str, source: Any) -> StoredSplit:
    """Return what :func:`write_split` wrote, after checking that it is of `source`.

    Raises
    ------
    FileFormatError
        If the file is not of a split, or is damaged.
    ValueError
        If `source` is another data set.
    """
    try:
        with Path(name).open("rb") as opened, np.load(opened) as file:
            facts = json.loads(bytes(file["facts"]).decode())
            if facts["format"] != "scdataset-core split":
                raise ValueError("it is of another format")
            _check_version(name, facts)
            _check_same(name, facts, source)
            parts = _read_parts(file, facts)
            by, stratify = map(str, facts["by"]), map(str, facts["stratify"])
            return StoredSplit(parts, tuple(by), tuple(stratify))
    except (_OtherDataError, FileNotFoundError, IsADirectoryError):
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"{name} is no split, or is damaged: {error}; write it again with"
            " split.save(path)"
        ) from error


class _OtherDataError(ValueError):
    """A split is of another data set."""


def _check_version(name: str, facts: dict[str, Any]) -> None:
    if facts["version"] != _VERSION:
        raise FileFormatError(
            f"{name} has version {facts['version']} of the format, and this release"
            f" reads version {_VERSION}; use the release that wrote it"
        )


def _check_same(name: str, facts: dict[str, Any], source: Any) -> None:
    n_rows = count_rows(source)
    found = _fingerprint_of_cells(source)
    if (facts["n_rows"], facts["fingerprint"]) != (n_rows, found):
        raise _OtherDataError(
            f"{name} is a split of another data set: of {facts['about']} (fingerprint"
            f" {facts['fingerprint']}), not of {describe_collection(source)}"
            f" (fingerprint {found}); open the files that it was made of, in the same"
            " order"
        )


def _read_parts(file: Any, facts: dict[str, Any]) -> dict[str, RowSet]:
    """Return the rows of each part, checked against each other and the counts."""
    n_rows, names = facts["n_rows"], facts["parts"]
    left = RowSet(n_rows, file["within"].astype(WORD, casting="no"))
    parts: dict[str, RowSet | None] = {}
    for i, name in enumerate(names):
        parts[name] = None
        if f"part{i}" in file.files:
            rows = RowSet(n_rows, file[f"part{i}"].astype(WORD, casting="no"))
            if len(rows - left):
                raise ValueError(f'"{name}" has rows that are in other parts, or none')
            parts[name] = rows
            left = left - rows
    whole = {name: left if rows is None else rows for name, rows in parts.items()}
    counts = [len(rows) for rows in whole.values()]
    if len(whole) != len(names) or counts != facts["counts"]:
        raise ValueError(f"its parts have {counts} cells, expected {facts['counts']}")
    return whole


def _fingerprint_of_cells(source: Any) -> str:
    """Return the fingerprint of the data, whichever genes of it were chosen.

    That of a source knows row counts, stored counts and genes. Here it is joined with
    where some rows are not 0, which tells the files of one data set from each other.
    """
    if not isinstance(source, Source):
        return find_fingerprint(source)
    whole = None if source.reopened is None else source.reopened.with_all_genes()
    whole = source if whole is None else whole
    rows = np.unique(np.linspace(0, max(len(whole) - 1, 0), _SAMPLE_ROWS).astype(int))
    x = whole.read(rows[: len(whole)])["X"]
    while isinstance(x, dict):  # several arrays side by side
        x = next(iter(x.values()))
    places = np.stack(np.nonzero(x != 0)) if isinstance(x, np.ndarray) else _places(x)
    return f"{whole.fingerprint}-{digest(places.astype(np.int64))}"


def _places(x: Any) -> npt.NDArray[np.int64]:
    """Return row and column of each element of a CSR array that is not 0, in order."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))[x.data != 0]
    columns = x.indices[x.data != 0]
    order = np.lexsort((columns, rows))
    return np.stack([rows[order], columns[order]])
