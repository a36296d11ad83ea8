"""Files of splits: the rows of each part, and which data they are of."""

import json
import operator
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from ..sources.fingerprints import fingerprint
from ..storage.io.open_files import check_plain

__all__ = ["StoredSplit", "read_split", "write_split"]

_FORMAT, _VERSION = "scdataset-core split", 1
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
        "format": _FORMAT,
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
    path.parent.mkdir(parents=True, exist_ok=True)
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
    check_plain(name)
    with Path(name).open("rb") as opened:
        with _naming(name):
            if not zipfile.is_zipfile(opened):  # numpy would say to load it unsafely
                raise ValueError("it is not of the kind that split.save writes")
            opened.seek(0)
            file = np.load(opened)
            facts = json.loads(bytes(file["facts"]).decode())
            if facts["format"] != _FORMAT:
                raise ValueError(f"it is of the format {facts['format']}")
            expected, about = (facts["n_rows"], facts["fingerprint"]), facts["about"]
        _check_version(name, facts)
        found = (count_rows(source), _fingerprint_of_cells(source))
        if found != expected:
            raise ValueError(
                f"{name} is a split of another data set: of {about} (fingerprint"
                f" {expected[1]}), not of {describe_collection(source)} (fingerprint"
                f" {found[1]}); open the files that it was made of, in the same order"
            )
        with _naming(name):
            parts = _read_parts(file, facts)
            by, stratify = map(str, facts["by"]), map(str, facts["stratify"])
            return StoredSplit(parts, tuple(by), tuple(stratify))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the file in the error of whatever cannot be read from it.

    Python and NumPy have many: for members that are encrypted or packed in other ways,
    for headers that are no Python, for text that nests without end.
    """
    try:
        yield
    except Exception as error:
        raise FileFormatError(
            f"{name} is no split, or is damaged: {error}; write it again with"
            " split.save(path)"
        ) from error


def _check_version(name: str, facts: dict[str, Any]) -> None:
    version = facts.get("version")
    if version != _VERSION:
        raise FileFormatError(
            f"{name} has version {version} of the format, and this release"
            f" reads version {_VERSION}; use the release that wrote it"
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
    """Return a digest of the data that is the same for any choice of its genes.

    It knows the genes, and of some rows where they are not 0; of dense rows the values.
    So it is also the same for other layers that are 0 in the same places, and for a
    copy of the data in another format.
    """
    if not isinstance(source, Source):
        return find_fingerprint(source)
    whole = None if source.reopened is None else source.reopened.with_all_genes()
    whole = source if whole is None else whole
    rows = np.unique(np.linspace(0, len(whole) - 1, _SAMPLE_ROWS).astype(np.int64))
    x = whole.read(rows)["X"]
    while isinstance(x, dict):  # several arrays side by side
        x = next(iter(x.values()))
    held = x.astype(np.float64) if isinstance(x, np.ndarray) else _places(x)
    return fingerprint([len(whole), whole.var_names, digest(held)])


def _places(x: Any) -> npt.NDArray[np.int64]:
    """Return row and column of each element of a CSR array that is not 0, in order."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))[x.data != 0]
    columns = x.indices[x.data != 0]
    order = np.lexsort((columns, rows))
    return np.stack([rows[order], columns[order]]).astype(np.int64)
