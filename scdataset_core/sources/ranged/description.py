"""The description that `repr` gives of a source over files."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...storage import StoredArray
from ..base import Source
from ..genes.joins import FileGenes
from ..summaries import describe_files, shorten_path, show_source
from .cell_file import DenseX, SparseX
from .dense_rows import ColumnRows
from .storage_blocks import decoded_per_used, decoded_per_used_aligned

__all__ = ["describe"]

# A chunk that decodes to more than this makes every read of a few rows dear.
_GIANT_BYTES = 64 << 20
_MOST = 4
# The block size that a description says the cost of, besides that of a chunk.
_BLOCK_ROWS = 16


def describe(
    source: Source, xs: Sequence[SparseX | DenseX], genes: Sequence[FileGenes]
) -> str:
    """Return a few lines: size, layout, labels, and what is unusual."""
    form = "sparse" if source.sparse else "dense"
    counts = (
        f", {source.mean_stored:,.0f} stored values a cell" if source.sparse else ""
    )
    changed = [
        str(replace(report, file=shorten_path(report.file)))
        for report in genes
        if report.n_lost or report.n_added
    ]
    if len(genes) > 1 and len({replace(report, file="") for report in genes}) == 1:
        changed = changed and [str(replace(genes[0], file="every file"))]
    return show_source(
        source,
        describe_files(source.files),
        [
            f"X: {form} {source.dtype}{counts}, about {source.natural_block:,} cells a"
            " storage chunk",
            *_describe_layouts([x.values for x in xs]),
            *_describe_ids(xs),
            *_describe_decoding(xs),
            *_shorten(changed),
        ],
    )


def _describe_layouts(arrays: Sequence[StoredArray]) -> list[str]:
    """Return how X is stored: the ways there are, and each giant chunk."""
    ways: dict[str, list[int]] = {}
    giants = []
    for array in arrays:
        ways.setdefault(_encoding(array), []).append(array.chunk_rows or 0)
        n_bytes = _chunk_bytes(array)
        if n_bytes > _GIANT_BYTES:
            giants.append(
                f"{shorten_path(array.file)}: giant chunks of"
                f" {n_bytes / 2**20:,.0f} MiB, each decoded whole for any of"
                " its rows: rewriting the file helps"
            )
    listed = []
    for way, sizes in ways.items():
        low, high = min(sizes), max(sizes)
        size = f" of {low:,}" if low else ""
        size += f" to {high:,}" if high > low else ""
        count = f" ({len(sizes)} files)" if len(ways) > 1 else ""
        listed.append(f"stored in {way.replace('chunks', f'chunks{size}')}{count}")
    return [*_shorten(listed), *_shorten(giants)]


def _describe_ids(xs: Sequence[SparseX | DenseX]) -> list[str]:
    """Return how column ids are stored where their chunks are not those of values."""
    lines: dict[str, None] = {}
    for x in xs:
        if isinstance(x, SparseX) and x.indices.chunk_rows != x.data.chunk_rows:
            size = x.indices.chunk_rows
            chunks = "one piece" if size is None else f"chunks of {size:,} elements"
            lines[f"column ids, {x.indices.dtype}, in {chunks}"] = None
    return _shorten(list(lines))


def _describe_decoding(xs: Sequence[SparseX | DenseX]) -> list[str]:
    """Return what shuffled reads decode for each byte that they use."""
    cells = [x.n_obs for x in xs]
    if not any(cells):
        return []
    ratios = [
        decoded_per_used(
            (x.data, x.indices) if isinstance(x, SparseX) else (x.values,),
            x.n_obs,
            _BLOCK_ROWS,
        )
        for x in xs
    ]
    if max(ratios) <= 1.0:
        return []
    anywhere = np.average(ratios, weights=cells)
    aligned = np.average([decoded_per_used_aligned(x) for x in xs], weights=cells)
    return [
        f"blocks of {_BLOCK_ROWS} cells decode about {anywhere:.1f} bytes for each that"
        f" they use, and blocks of a storage chunk {aligned:.1f}"
    ]


def _encoding(array: StoredArray) -> str:
    if isinstance(array.library, ColumnRows):
        return "a table, column by column"
    if array.grid is None:
        return "a way only the format's own library can read"
    if array.chunk_rows is None:
        return "one piece, not compressed"
    unit = "elements" if len(array.shape) == 1 else "rows"
    return f"chunks {unit}, {array.grid.pipeline}"


def _chunk_bytes(array: StoredArray) -> int:
    if array.grid is None or array.chunk_rows is None:
        return 0
    return array.grid.n_bytes


def _shorten(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _MOST
    return [*lines[:_MOST], *([f"... and {rest} more"] if rest > 0 else [])]
