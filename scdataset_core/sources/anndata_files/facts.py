"""What opening a collection asks of each file, found once, when it is recorded.

The facts are a part of the file's record: those that files of a skeleton share are in
the skeleton, the others in its integers. So opening thousands of files takes a few
operations on arrays, and a file is looked at once it is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import ScdatasetError
from ..obs.columns import Column, LabelColumn, NumberColumn
from ..options import OpenOptions
from ..ranged.cell_file import SparseX
from ..ranged.storage_blocks import mean_chunk_rows
from .cell_files import locate_cells
from .data_frames import StoredFrame
from .recorded_arrays import RecordedFile
from .recorded_tree import RecordedTree
from .recording import MOST_LABELS, Pool

__all__ = ["X_SLOTS", "find_facts"]

# What is known of each matrix: the slots from the first on.
X_SLOTS = ("n_obs", "n_stored", "chunk_rows", "pointer_bytes", "names")


def find_facts(record: RecordedFile, pool: Pool) -> tuple[dict[str, Any], list[int]]:
    """Return the facts of a file, and the integers that are added to its record.

    Parameters
    ----------
    record
        The record of the file.
    pool
        Keeps the lists of all files; `record` refers to it.

    Returns
    -------
    facts
        Of each matrix and each obs column by name. One that cannot be opened has none.
    integers
        Those of the slots behind the record's own.
    """
    tree = RecordedTree(record, allow_external=True)
    integers: list[int] = []
    first = len(record.integers)

    def slot(*values: int) -> int:
        integers.extend(map(int, values))
        return first + len(integers) - len(values)

    matrices = {}
    for path in _matrices(tree):
        try:
            found = locate_cells(tree, OpenOptions(x=path), pool.of_records)
        except ScdatasetError:
            continue
        x, names = found.x, pool.of_records.share(found.var_names)
        pointers = 0
        if isinstance(x, SparseX):
            pointers = x.indptr.dtype.itemsize * (x.n_obs + 1)
        bits = int(np.float64(mean_chunk_rows(x)).view(np.int64))
        matrices[path] = {
            "sparse": isinstance(x, SparseX),
            "dtype": x.dtype.str,
            "plain": x.values.is_plain,
            "slot": slot(x.n_obs, x.n_stored, bits, pointers, pool.number_of(names)),
        }
    table = StoredFrame(tree, "obs")
    columns = {}
    for name, column in table.columns(True, len(table.index_text())).items():
        fact = _column_fact(column)
        if isinstance(column, LabelColumn) and len(column.labels) > MOST_LABELS:
            continue
        if isinstance(column, LabelColumn):
            fact["slot"] = slot(pool.add(list(column.labels)))
        elif isinstance(column, NumberColumn):
            fact["slot"] = slot(column.any_missing())
        columns[name] = fact
    facts = {"x": matrices, "obs": columns, "columns": table.column_names}
    return {**facts, "outside": _leads_outside(record.skeleton)}, integers


def _leads_outside(node: Mapping[str, Any]) -> bool:
    """Return whether an array below a node lies in another file."""
    described = node.get("described", {})
    below = node.get("members", {}).values()
    return bool(
        "outside" in described
        or described.get("others")
        or any(_leads_outside(member) for member in below)
    )


def _matrices(tree: RecordedTree) -> Iterator[str]:
    yield from ("X", "raw/X")
    for folder in ("layers", "obsm"):
        for name in tree.group(folder) or ():
            yield f"{folder}/{name}"


def _column_fact(column: Column) -> dict[str, Any]:
    """Return what is known of a column but for its slot."""
    if isinstance(column, LabelColumn):
        dtype = column.codes.dtype.str
        return {"kind": "labels", "dtype": dtype, "ordered": column.ordered}
    if isinstance(column, NumberColumn):
        return {"kind": "numbers", "dtype": column.values.dtype.str}
    return {"kind": "unreadable", "reason": column.reason}
