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


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request, tmp_path_factory):
    """Return what each rank of a world saw, given their number of workers."""
    folder = tmp_path_factory.mktemp("ranks")
    roots = os.pathsep.join(sys.path)
    out = subprocess.run(
        [sys.executable, str(HERE / "torch_ranks.py"), str(folder), str(request.param)],
        env=os.environ | {"PYTHONPATH": roots, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    return lambda num_workers: [
        json.loads((folder / f"{num_workers}-{rank}.json").read_text())
        for rank in range(request.param)
    ]


workers = pytest.mark.parametrize("num_workers", [0, 2])


@workers
@pytest.mark.parametrize("kind", ["trim", "pad", "compat"])
def test_ranks_have_equal_numbers_of_batches(ranks, num_workers, kind):
    seen = [rank[kind] for rank in ranks(num_workers)]
    numbers = {len(batches) for rank in seen for batches in rank["epochs"]}
    assert numbers == {rank["len"] for rank in seen}
    assert len(numbers) == 1


@workers
@pytest.mark.parametrize("uneven", ["trim", "pad"])
def test_ranks_yield_the_loaders_minibatches(ranks, num_workers, uneven):
    seen = ranks(num_workers)
    for epoch in (0, 1):
        for rank, seen_by_rank in enumerate(seen):
            loader = Loader(
                np.arange(N_ROWS),
                BlockShuffling(4),
                batch_size=4,
                fetch_factor=3,
                seed=5,
                uneven=uneven,
            ).shard(rank, len(seen))
            loader.set_epoch(epoch)
            own = [batch.tolist() for batch in loader]
            got = seen_by_rank[uneven]["epochs"][epoch]
            assert (got if num_workers == 0 else sorted(got)) == (
                own if num_workers == 0 else sorted(own)
            )


@workers
@pytest.mark.parametrize("kind", ["pad", "compat"])
def test_no_row_is_left_out_by_padding(ranks, num_workers, kind):
    epochs = [rank[kind]["epochs"] for rank in ranks(num_workers)]
    for epoch in (0, 1):
        rows = {row for rank in epochs for batch in rank[epoch] for row in batch}
        assert rows == set(range(N_ROWS))
    assert epochs[0][0] != epochs[0][1]
