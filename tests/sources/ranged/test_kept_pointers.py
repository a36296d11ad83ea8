"""Row pointers of many files: found in one step, kept within a budget, checked."""

import pickle

import h5py
import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError
from scdataset_core.sources.ranged import kept_pointers
from scdataset_core.sources.ranged.cell_file import SparseX
from scdataset_core.sources.ranged.kept_pointers import KeptPointers
from scdataset_core.sources.ranged.row_pointers import pointers_of
from scdataset_core.sources.rows import files_of_sorted
from scdataset_core.storage import ReadContext, StoredArray

SIZES = [5, 0, 30, 1, 12]
DTYPES = ["i4", "i8", "u2", "u8", "i8"]


def write(path, pointers, n_vars=9):
    """Write a file with these row pointers; return its X."""
    n_stored = int(pointers[-1])
    with h5py.File(path, "w") as file:
        file["indptr"] = pointers
        file["data"] = np.ones(n_stored, "f4")
        file["indices"] = np.zeros(n_stored, "i4")
    with h5py.File(path) as file:
        names = "data", "indices", "indptr"
        return SparseX(*(StoredArray.from_hdf5(file[n]) for n in names), n_vars)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    pointers = [
        np.append(0, np.cumsum(rng.integers(0, 9, n))).astype(dtype)
        for n, dtype in zip(SIZES, DTYPES, strict=True)
    ]
    xs = [write(folder / f"{i}.h5", each) for i, each in enumerate(pointers)]
    return xs, pointers


STARTS = np.cumsum([0, *SIZES])
N_STORED = np.full(len(SIZES), 10)


def find(kept, rows):
    rows = np.array(rows, np.int64)
    with ReadContext(1) as context:
        return kept.find(rows, files_of_sorted(rows, STARTS), context)


@pytest.mark.parametrize(
    ("budget", "n_kept"),
    [(0, 0), (4 * 2, 1), (4 * 9, 3), (4 * 22, 4), (4 * 53, 5), (1 << 20, 5)],
)
@pytest.mark.parametrize("largest", [10, 2**31])
def test_any_budget_finds_the_same(files, budget, n_kept, largest):
    xs, pointers = files
    itemsize = 4 if largest < 2**31 else 8
    kept = KeptPointers(xs, STARTS, N_STORED + largest - 10, budget * itemsize // 4)
    assert kept.n_bytes <= budget * itemsize // 4
    whole = np.concatenate([each[:-1].astype(np.int64) for each in pointers])
    stops = np.concatenate([each[1:].astype(np.int64) for each in pointers])
    rng = np.random.default_rng(1)
    for n in (0, 1, 3, 40, 200):
        rows = np.sort(rng.integers(0, STARTS[-1], n))
        found = find(kept, rows)
        np.testing.assert_array_equal(found[0], whole[rows])
        np.testing.assert_array_equal(found[1], stops[rows])
    assert sum(kept._kept.keeps) == n_kept
    again = pickle.loads(pickle.dumps(kept))
    np.testing.assert_array_equal(find(again, [0, 47])[0], whole[[0, 47]])


def test_kept_pointers_are_read_once(files, monkeypatch):
    xs, _ = files
    read = []

    def note(x):
        read.append(x)
        return pointers_of(x)

    monkeypatch.setattr(kept_pointers, "pointers_of", note)
    kept = KeptPointers(xs, STARTS, N_STORED, 1 << 20)
    find(kept, [0, 1, 6])
    assert read == [xs[0], xs[2]]
    find(kept, [3, 9, 47])
    assert read == [xs[0], xs[2], xs[4]]


@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_wrong_pointers_are_an_error_each_time(files, tmp_path, budget):
    xs, _ = files
    pointers = np.arange(6)
    pointers[3] = 1
    wrong = [write(tmp_path / "wrong.h5", pointers), *xs[1:]]
    kept = KeptPointers(wrong, STARTS, N_STORED, budget)
    for _ in range(2):
        with pytest.raises(CorruptFileError, match="row 2 starts at 2 and ends at 1"):
            find(kept, [2, 3, 7])
    assert find(kept, [7])[0].tolist() == xs[2].indptr.read(2, 3).tolist()
