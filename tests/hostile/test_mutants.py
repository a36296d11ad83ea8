"""Damaged files of every format are read right, or refused with a clear error."""

import pytest

from tests.hostile.run import GOOD, run_mutants
from tests.hostile.small_files import SMALL_FILES, write_small

pytestmark = pytest.mark.hostile
for package in ("anndata", "h5py", "zarr", "pyarrow"):
    pytest.importorskip(package)

# Mutants that once fell short: they hung, crashed, took memory, or raised the errors of
# other libraries.
SEEDS = [
    ("h5ad", 397),
    ("h5ad dense", 136),
    ("zarr 2", 234),
    ("zarr 3", 192),
    ("zarr 2", 1153),
    ("zarr 3", 1038),
    ("zarr 3", 1125),
    ("zarr shards", 10),
    ("zarr shards", 36),
    ("zarr shards", 90),
    ("zarr shards", 214),
    ("zarr shards", 1493),
    ("zarr zip", 6),
    ("zarr zip", 1161),
    ("zarr zip", 1577),
    ("parquet", 1218),
    ("triples", 21),
    ("triples", 1089),
    ("triples", 1092),
    ("arrow", 25),
    ("arrow", 1230),
    ("scdl", 1104),
]
# These import much, and are left to the long tests.
SLOW = {"hugging face", "soma", "soma isolated", "h5mu"}
# Of these, nothing but their own library tells which values are right.
UNTOLD = {"other values"}


def fallen_short(tasks, folder):
    """Return the mutants that were neither read right nor refused clearly."""
    for name in dict.fromkeys(name for name, _ in tasks):
        write_small(name, folder)
    outcomes = list(run_mutants(tasks, folder, folder / "mutant"))
    assert len(outcomes) == len(tasks)
    return [one for one in outcomes if one.outcome not in GOOD | UNTOLD]


@pytest.mark.slow
def test_a_few_mutants_and_those_that_once_fell_short(tmp_path):
    names = [name for name in SMALL_FILES if name not in SLOW]
    few = [(name, number) for name in names for number in range(2)]
    assert fallen_short([*SEEDS, *few], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL_FILES if "soma" not in name])
def test_more_mutants(name, tmp_path):
    # Not of TileDB: it names its files by time and chance, so that a number makes
    # another mutant in each run; and it takes what memory a damaged size asks for.
    if name == "hugging face":
        pytest.importorskip("datasets")
    assert fallen_short([(name, number) for number in range(60)], tmp_path) == []
