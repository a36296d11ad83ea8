"""Ranks of a real process group: equal numbers of batches, each row once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
if sys.platform == "win32":
    pytest.skip("ranks are forked", allow_module_level=True)

from scdataset_core import BlockShuffling, Loader

HERE = Path(__file__).parent
N_ROWS = 230


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what the rank of a world with some workers saw."""
    folder = tmp_path_factory.mktemp("ranks")
    roots = os.pathsep.join(sys.path)
    out = subprocess.run(
        [sys.executable, str(HERE / "torch_ranks.py"), str(folder)],
        env=os.environ | {"PYTHONPATH": roots, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    return lambda world_size, num_workers: [
        json.loads((folder / f"{world_size}-{num_workers}-{rank}.json").read_text())
        for rank in range(world_size)
    ]


topologies = pytest.mark.parametrize(
    ("world_size", "num_workers"), [(2, 0), (2, 2), (3, 0), (3, 2)]
)


@topologies
@pytest.mark.parametrize("kind", ["trim", "pad", "compat"])
def test_ranks_have_equal_numbers_of_batches(seen, world_size, num_workers, kind):
    ranks = [rank[kind] for rank in seen(world_size, num_workers)]
    numbers = {len(batches) for rank in ranks for batches in rank["epochs"]}
    assert numbers == {rank["len"] for rank in ranks}
    assert len(numbers) == 1


@topologies
@pytest.mark.parametrize("uneven", ["trim", "pad"])
def test_ranks_yield_the_loaders_minibatches(seen, world_size, num_workers, uneven):
    ranks = seen(world_size, num_workers)
    for epoch in (0, 1):
        for rank, seen_by_rank in enumerate(ranks):
            loader = Loader(
                np.arange(N_ROWS),
                BlockShuffling(4),
                batch_size=4,
                fetch_factor=3,
                seed=5,
                uneven=uneven,
            ).shard(rank, world_size)
            loader.set_epoch(epoch)
            own = [batch.tolist() for batch in loader]
            got = seen_by_rank[uneven]["epochs"][epoch]
            assert (got if num_workers == 0 else sorted(got)) == (
                own if num_workers == 0 else sorted(own)
            )


@topologies
@pytest.mark.parametrize("kind", ["pad", "compat"])
def test_no_row_is_left_out_by_padding(seen, world_size, num_workers, kind):
    epochs = [rank[kind]["epochs"] for rank in seen(world_size, num_workers)]
    for epoch in (0, 1):
        rows = {row for rank in epochs for batch in rank[epoch] for row in batch}
        assert rows == set(range(N_ROWS))
    assert epochs[0][0] != epochs[0][1]
