"""Made-up arrays in files, and what reading them must give."""

from pathlib import Path

import h5py
import numpy as np

from scdataset_core.storage import ReadContext, Request, StoredArray, read_requests


def values(n: int, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "S":
        return np.array([b"x" * int(k) for k in rng.integers(0, 6, n)], kind)
    if kind.kind == "b":
        return rng.random(n) < 0.5
    return rng.poisson(3.0, n).astype(kind)


def stored(path: Path, name: str = "x", **layout: object) -> StoredArray:
    with h5py.File(path, "r") as file:
        return StoredArray.from_hdf5(file[name])


def check(
    array: StoredArray,
    plain: np.ndarray,
    ranges: list[tuple[int, int]],
    *,
    context: ReadContext,
    n_targets: int = 3,
    columns: np.ndarray | None = None,
    seed: int = 0,
) -> None:
    """Scatter `ranges` over several targets in random order, and compare."""
    rng = np.random.default_rng(seed)
    starts = np.array([a for a, _ in ranges], np.int64)
    stops = np.array([b for _, b in ranges], np.int64)
    which = rng.integers(0, n_targets, len(ranges))
    offsets = np.zeros(len(ranges), np.int64)
    sizes = [0] * n_targets
    for i in rng.permutation(len(ranges)).tolist():
        offsets[i] = sizes[which[i]]
        sizes[which[i]] += int(stops[i] - starts[i])
    row = plain.shape[1:] if columns is None else (len(columns),)
    targets = [np.empty((size, *row), array.dtype) for size in sizes]
    request = Request(array, starts, stops, targets, which, offsets, columns)
    read_requests([request], context)
    expected = plain if columns is None else plain[:, columns]
    for i, (a, b) in enumerate(ranges):
        got = targets[which[i]][offsets[i] : offsets[i] + b - a]
        np.testing.assert_array_equal(got, expected[a:b])
