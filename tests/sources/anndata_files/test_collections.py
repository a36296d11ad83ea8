"""Many files: what they have in common is kept once, and few are open at a time."""

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.sources.genes.shared_names import SharedNames
from scdataset_core.storage.io.open_limit import most_open

N_FILES, N, GENES = 80, 6, 600
N_WRITTEN = 8  # of them by AnnData; the others are copies, but for a count


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    genes = pd.DataFrame(index=[f"ENSG{i:011d}" for i in range(GENES)])
    written = [folder / f"{i:03d}.h5ad" for i in range(N_FILES)]
    for i, path in enumerate(written):
        if i < N_WRITTEN:
            x = (rng.random((N, GENES)) < 0.02).astype(np.float32)
            x[0, 0] = i + 1
            obs = pd.DataFrame(
                {"drug": pd.Categorical(rng.choice(["a", "b", "c"], N))},
                index=[f"{i}_{j}" for j in range(N)],
            )
            ad.AnnData(sp.csr_matrix(x), obs, genes).write_h5ad(path)
        else:
            shutil.copyfile(written[i % N_WRITTEN], path)
            with h5py.File(path, "r+") as file:
                file["X/data"][0] = i + 1
    return sorted(map(str, folder.glob("*.h5ad")))


def count_open():
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="module")
def saved(paths):
    path = Path(paths[0]).parent / "all.scdindex"
    scd.Index.build(paths).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [False, True])
def test_a_file_takes_little_memory(paths, saved, indexed):
    data = saved if indexed else paths
    scd.open(data, obs=["drug"])  # so that imports are not counted
    tracemalloc.start()
    source = scd.open(data, obs=["drug"])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == N_FILES * N
    assert held / N_FILES < 30_000
    assert peak / N_FILES < 60_000  # the names of one file's genes alone take 40 KB


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("indexed", [False, True])
def test_few_files_are_open_at_a_time(paths, saved, indexed):
    before = count_open()
    source = scd.open(saved if indexed else paths, obs=["drug"])
    assert count_open() <= before + most_open()
    found = source.read(np.arange(0, N_FILES * N, N))["X"][:, [0]].toarray()
    assert found.reshape(-1).tolist() == list(range(1, N_FILES + 1))
    assert count_open() <= before + 2 * most_open()


def test_a_file_of_an_index_is_located_when_it_is_read(saved):
    source: Any = scd.open(saved, obs=["drug"])  # Any: what only tests look at
    located = source._xs._files._located
    assert set(located) <= {0}  # which tells whether names are carried
    source.read([0, 1, N])
    assert sorted(located) == [0, 1]


def test_equal_lists_are_one_object():
    shared = SharedNames()
    first, again = (np.array(["a", "b"], object) for _ in range(2))
    assert shared.get(b"1", lambda: first) is first
    assert shared.get(b"1", lambda: pytest.fail("read again")) is first
    assert shared.get(b"2", lambda: again) is first
    assert shared.get(None, lambda: again) is first
    other = np.array(["b", "a"], object)
    assert shared.share(other) is other
