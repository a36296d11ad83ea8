"""DataLoaders with real worker processes: start methods, epochs, errors, transport."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")

import torch
from scdataset_torch import LoaderDataset, dataset, merge_dataloader_states, to_tensors
from torch.utils.data import DataLoader

from scdataset_core import BlockShuffling, GroupSampling, Loader, open
from tests.integrations.torch_contract import DataLoaderContract

pytestmark = [
    # Python 3.12 warns of every fork in a process with threads, as pytest-timeout's.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
    # torchdata calls what PyTorch has deprecated.
    pytest.mark.filterwarnings("ignore:.*set_vital"),
]
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="has no fork")


@needs_fork
@pytest.mark.slow
class TestDataLoaderWithWorkers(DataLoaderContract):
    """A `DataLoader` with two forked workers, which divide what is left of an epoch."""

    n_workers = 2
    same_order_on_resume = False


def make_loader(**options):
    return Loader(
        np.arange(203),
        BlockShuffling(4),
        **{"batch_size": 4, "fetch_factor": 3, "seed": 7, **options},
    )


def listed(batches):
    return [np.asarray(batch).tolist() for batch in batches]


def in_turn(epoch, num_workers=2):
    """Return an epoch's batches as a DataLoader takes them from workers."""
    shards = [make_loader().shard(0, 1, w, num_workers) for w in range(num_workers)]
    for shard in shards:
        shard.set_epoch(epoch)
    queues = [listed(shard) for shard in shards]
    rounds = max(map(len, queues))
    return [queue[i] for i in range(rounds) for queue in queues if i < len(queue)]


@pytest.mark.parametrize(
    ("method", "persistent", "num_workers"),
    [
        pytest.param("fork", False, 2, marks=needs_fork),
        pytest.param("fork", True, 2, marks=needs_fork),
        # Their workers import PyTorch first, those that do not persist in each epoch.
        pytest.param("spawn", True, 2, marks=pytest.mark.slow),
        pytest.param("forkserver", False, 1, marks=[needs_fork, pytest.mark.slow]),
    ],
)
def test_every_epoch_is_new_under_every_start_method(method, persistent, num_workers):
    dataset = LoaderDataset(make_loader())
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context=method,
    )
    epochs = [listed(loader) for _ in range(2)]
    assert epochs == [in_turn(0, num_workers), in_turn(1, num_workers)]
    assert len(loader) == len(epochs[0])
    if persistent:
        dataset.set_epoch(0)
        assert listed(loader) == in_turn(0, num_workers)


@needs_fork
@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_tensors_come_through_shared_memory_as_they_are(plates, layout):
    source = open(plates / "*.h5ad", obs=["drug"])
    loader = Loader(source, BlockShuffling(8), batch_size=64, fetch_factor=4)
    dataset = LoaderDataset(loader, to_tensors(layout))
    here = {int(batch["index"][0]): batch for batch in dataset}
    dataset.set_epoch(0)
    there = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    n_batches = 0
    for batch in there:
        same = here[int(batch["index"][0])]
        assert batch["X"].layout == same["X"].layout
        assert torch.equal(batch["X"].to_dense(), same["X"].to_dense())
        assert torch.equal(batch["index"], same["index"])
        assert batch["obs"]["drug"].dtype == torch.int64
        assert torch.equal(batch["obs"]["drug"], same["obs"]["drug"])
        n_batches += 1
    assert n_batches == len(here) == len(there)


@needs_fork
def test_tensors_of_sets_and_controls_come_through_shared_memory(plates):
    source = open(plates / "*.h5ad", obs=["drug"])
    sets = GroupSampling("drug", 16, control={"drug": "DMSO"})
    loader = Loader(source, sets, batch_size=64, output="padded", width=128)
    dataset = LoaderDataset(loader, to_tensors())
    expected = [to_tensors()(batch) for batch in loader]
    workers = DataLoader(
        dataset, batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    for ours, theirs in zip(workers, expected, strict=True):
        assert torch.equal(ours["group"], theirs["group"])
        for part, other in ((ours, theirs), (ours["control"], theirs["control"])):
            assert torch.equal(part["index"], other["index"])
            assert torch.equal(part["obs"]["drug"], other["obs"]["drug"])
            for name in ("indices", "values", "length"):
                assert torch.equal(part["X"][name], other["X"][name])


@pytest.mark.parametrize("kind", [None, "float16"])
def test_plain_batches_keep_scipys_csr(plates, kind):
    source = open(plates / "*.h5ad", obs=["drug"])
    output = None if kind is None else "dense"
    loader = Loader(source, batch_size=64, output=output, dtype=kind)
    batches = DataLoader(
        LoaderDataset(loader),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="fork",
    )
    for batch, own in zip(batches, loader, strict=True):
        assert type(batch) is dict
        assert isinstance(batch["obs"]["drug"], torch.Tensor)
        assert np.array_equal(batch["obs"]["drug"].numpy(), own["obs"]["drug"])
        if kind is None:
            assert type(batch["X"]) is type(own["X"])
            assert batch["X"].dtype == own["X"].dtype
            assert batch["X"].indices.dtype == own["X"].indices.dtype
            assert (batch["X"] != own["X"]).nnz == 0
        else:
            assert np.array_equal(batch["X"].numpy(), own["X"])


def no_room(*args, **kwargs):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")


FORMS = {
    "dense": ({}, to_tensors("dense")),
    "csr": ({}, to_tensors("csr")),
    "scipy": ({}, None),
    "anndata": ({"output": "anndata"}, None),
    "padded": ({"output": "padded"}, None),
}


def as_arrays(batch):
    """Return X and row numbers of a batch of any form."""
    if hasattr(batch, "obs_names"):
        return batch.X.toarray(), batch.obs_names.to_numpy().astype(int)
    x = batch["X"]
    if isinstance(x, dict):
        x = x["values"]
    for make_dense in ("to_dense", "toarray"):
        if hasattr(x, make_dense):
            x = getattr(x, make_dense)()
    return np.asarray(x), np.asarray(batch["index"])


@needs_fork
@pytest.mark.parametrize("form", FORMS)
def test_batches_arrive_where_shared_memory_is_full(plates, monkeypatch, form):
    # What a full /dev/shm does, which workers inherit.
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", no_room)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", no_room)
    options, collate = FORMS[form]
    source = open(plates / "plate1.h5ad", obs=["drug"])
    loader = Loader(source, BlockShuffling(8), batch_size=64, **options)
    batches = DataLoader(
        LoaderDataset(loader, collate),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="fork",
        timeout=200,
    )
    n_rows = 0
    own = LoaderDataset(loader, collate)
    for batch, same in zip(batches, own, strict=True):
        for part, expected in zip(as_arrays(batch), as_arrays(same), strict=True):
            assert np.array_equal(part, expected)
        n_rows += len(as_arrays(batch)[1])
    assert n_rows >= 400


SMALL_SHARED_MEMORY = "mount -t tmpfs -o size=4m tmpfs /dev/shm"
IN_SMALL_SHARED_MEMORY = """
import sys
from types import SimpleNamespace
import numpy as np
import scdataset_core as scd
from scdataset_torch import LoaderDataset, to_tensors
from torch.utils.data import DataLoader

if __name__ == "__main__":
    data = np.arange(200 * 10_000, dtype=np.float32).reshape(200, 10_000)
    kinds = ((scd.open(data), to_tensors("dense")), (data, None))
    for source, collate in kinds[: int(sys.argv[2])]:
        dataset = LoaderDataset(scd.Loader(source, batch_size=32), collate)
        seen = []
        for batch in DataLoader(
            dataset,
            batch_size=None,
            num_workers=1,
            multiprocessing_context=sys.argv[1],
            timeout=200,
        ):
            x = batch if collate is None else batch["X"]
            seen += (x[:, 0].numpy() // 10_000).astype(int).tolist()
            assert np.array_equal(x.numpy(), data[seen[-len(x):]])
        assert sorted(seen) == list(range(200))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "n_kinds"),
    [("fork", 2), ("spawn", 1)],  # each kind has a worker, which imports PyTorch
)
def test_batches_arrive_where_shared_memory_really_is_full(tmp_path, method, n_kinds):
    probe = ["unshare", "-m", "sh", "-c", SMALL_SHARED_MEMORY]
    if not shutil.which("unshare") or subprocess.run(probe, check=False).returncode:
        pytest.skip("may not mount")
    script = tmp_path / "script.py"
    script.write_text(IN_SMALL_SHARED_MEMORY)
    command = (
        f"{SMALL_SHARED_MEMORY} && exec {sys.executable} {script} {method} {n_kinds}"
    )
    out = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    assert "there is no shared memory left for batches" in out.stderr


@needs_fork
def test_workers_are_not_held_up_by_an_iterator_that_has_begun(plates):
    dataset = LoaderDataset(Loader(open(plates / "*.h5ad"), batch_size=64))
    begun = iter(dataset)
    next(begun)
    batches = DataLoader(
        dataset,
        batch_size=None,
        num_workers=1,
        multiprocessing_context="fork",
        timeout=200,
    )
    rows = np.concatenate([batch["index"] for batch in batches])
    assert sorted(rows.tolist()) == list(range(1200))
    assert len(list(begun)) == len(dataset) - 1


def stateful(num_workers, persistent=False, **options):
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    return torchdata.StatefulDataLoader(
        LoaderDataset(make_loader()),
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context="fork" if num_workers else None,
        **options,
    )


stateful_cases = pytest.mark.parametrize(
    ("num_workers", "persistent"),
    [
        (0, False),
        pytest.param(2, False, marks=needs_fork),
        pytest.param(2, True, marks=needs_fork),
    ],
)


def full_epoch(epoch, num_workers):
    return in_turn(epoch, max(1, num_workers))


@pytest.mark.parametrize(
    ("num_workers", "persistent", "n_taken"),
    [
        (0, False, 7),
        pytest.param(2, False, 0, marks=needs_fork),
        pytest.param(2, False, 7, marks=needs_fork),
        pytest.param(2, True, 50, marks=needs_fork),
    ],
)
def test_stateful_dataloader_resumes_exactly_and_twice(
    num_workers, persistent, n_taken
):
    loader = stateful(num_workers, persistent)
    assert listed(loader) == full_epoch(0, num_workers)
    iterator = iter(loader)
    seen = listed(next(iterator) for _ in range(n_taken))
    state = loader.state_dict()

    loader = stateful(num_workers, persistent)
    loader.load_state_dict(state)
    iterator = iter(loader)
    seen += listed(next(iterator) for _ in range(1))
    state = loader.state_dict()

    loader = stateful(num_workers, persistent)
    loader.load_state_dict(state)
    seen += listed(loader)
    assert seen == full_epoch(1, num_workers)
    assert listed(loader) == full_epoch(2, num_workers)


@stateful_cases
@pytest.mark.parametrize("ended", [True, False])
def test_stateful_dataloader_resumes_at_the_end_of_an_epoch(
    num_workers, persistent, ended
):
    loader = stateful(num_workers, persistent)
    iterator = iter(loader)
    for _ in range(len(loader)):
        next(iterator)
    if ended:
        assert list(iterator) == []
    state = loader.state_dict()
    loader = stateful(num_workers, persistent)
    loader.load_state_dict(state)
    if not ended:
        assert list(loader) == []
    assert listed(loader) == full_epoch(1, num_workers)


@stateful_cases
@pytest.mark.parametrize("every", [1, 4])
def test_merged_states_go_on_with_other_workers(num_workers, persistent, every):
    loader = stateful(num_workers, persistent, snapshot_every_n_steps=every)
    iterator = iter(loader)
    seen = listed(next(iterator) for _ in range(11))
    resumed = make_loader()
    resumed.load_state_dict(merge_dataloader_states([loader.state_dict()]))
    seen += listed(resumed)
    assert sorted(seen) == sorted(full_epoch(0, 1))
    assert listed(resumed) == full_epoch(1, 1)


def test_merging_what_are_no_such_states_is_refused():
    with pytest.raises(ValueError, match="no state of a StatefulDataLoader"):
        merge_dataloader_states([make_loader().state_dict()])
    with pytest.raises(ValueError, match="no state of a StatefulDataLoader"):
        merge_dataloader_states([{"_snapshot": {"_main_snapshot": {}}}])
    with pytest.raises(TypeError, match="a state is a dict, got str"):
        merge_dataloader_states("states")
    with pytest.raises(TypeError, match="a list of the states of all ranks"):
        merge_dataloader_states(stateful(0).state_dict())


@pytest.mark.parametrize(
    ("adopted_by", "is_alive", "ends"),
    [(7, True, False), (1, True, True), (8, True, False), (7, False, True)],
    ids=["parent", "adopted", "fork_server", "no_parent"],
)
def test_a_worker_whose_parent_was_killed_ends(adopted_by, is_alive, ends, monkeypatch):
    """PyTorch looks for its parent from then on, when that may be another process."""
    parent = SimpleNamespace(pid=7, is_alive=lambda: is_alive)
    info = SimpleNamespace(seed=3, id=0, num_workers=1)
    monkeypatch.setattr(dataset, "parent_process", lambda: parent)
    monkeypatch.setattr(dataset, "get_worker_info", lambda: info)
    monkeypatch.setattr(dataset, "allow_sending_by_pipe", lambda: None)
    monkeypatch.setattr(os, "getppid", lambda: adopted_by)
    batches = LoaderDataset(Loader(np.arange(9), batch_size=3))
    if ends:
        with pytest.raises(SystemExit, match="1"):
            iter(batches)
    else:
        assert len(list(batches)) == 3
