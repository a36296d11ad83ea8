"""Batches as tensors: types, layouts, pinning, shared memory, devices."""

import copy
import pickle
from collections import OrderedDict, namedtuple
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType
from unittest import mock

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

pytest.importorskip("scdataset_torch")

import torch
from scdataset_torch import LoaderDataset, shared_memory, to_device, to_tensors
from scdataset_torch.collate import TensorBatch
from scdataset_torch.device import _copy_on_side_stream
from scdataset_torch.shared_memory import PlainBatch

from scdataset_core import BlockShuffling, Loader, open

X = csr_array(np.array([[0, 2, 0], [1, 0, 3]], np.float32))


def make_batch(x=X):
    obs = {
        "drug": np.array([1, -1], np.int32),
        "dose": np.array([0.5, np.nan]),
        "treated": np.array([True, False]),
        "well": np.array([300, 1], np.uint16),
    }
    return {"X": x, "obs": obs, "index": np.array([7, 3])}


@pytest.mark.parametrize(
    ("layout", "expected"), [("csr", torch.sparse_csr), ("dense", torch.strided)]
)
@pytest.mark.parametrize("kind", [csr_array, csr_matrix])
def test_sparse_x_takes_the_layout(layout, expected, kind):
    batch = to_tensors(layout)(make_batch(kind(X)))
    assert batch["X"].layout == expected
    assert batch["X"].dtype == torch.float32
    assert np.array_equal(batch["X"].to_dense().numpy(), X.toarray())


def test_groups_and_controls_become_tensors_of_the_layout():
    groups = np.array([4], np.int32)
    batch = make_batch() | {"group": groups, "control": make_batch()}
    tensors = to_tensors("dense")(batch)
    assert tensors["group"].dtype == torch.int64
    assert tensors["control"]["X"].layout == torch.strided
    assert tensors["control"]["obs"]["well"].dtype == torch.int64
    assert copy.deepcopy(tensors)["control"]["index"].tolist() == [7, 3]


def test_integers_of_obs_are_int64_and_the_rest_as_it_is():
    obs = to_tensors()(make_batch())["obs"]
    types = {name: column.dtype for name, column in obs.items()}
    assert types == {
        "drug": torch.int64,
        "dose": torch.float64,
        "treated": torch.bool,
        "well": torch.int64,
    }
    assert obs["drug"].tolist() == [1, -1]
    assert to_tensors()(make_batch())["index"].dtype == torch.int64


def test_dense_x_stays_dense_and_shares_its_memory():
    dense = np.ones((2, 3), np.float32)
    batch = to_tensors("csr")(make_batch(dense))
    dense[0, 0] = 5
    assert batch["X"][0, 0] == 5


def test_read_only_arrays_are_copied():
    index = np.arange(2)
    index.flags.writeable = False
    assert to_tensors()({**make_batch(), "index": index})["index"].tolist() == [0, 1]


def test_padded_rows_become_three_tensors(plates):
    source = open(plates / "plate1.h5ad")
    loader = Loader(source, batch_size=8, output="padded")
    x = next(iter(LoaderDataset(loader, to_tensors())))["X"]
    assert {name: part.dtype for name, part in x.items()} == {
        "indices": torch.int32,
        "values": torch.float32,
        "length": torch.int32,
    }


@pytest.mark.parametrize(
    ("layout", "expected"), [("csr", torch.sparse_csr), ("dense", torch.strided)]
)
def test_each_of_several_arrays_takes_the_layout(plates, layout, expected):
    source = open(plates / "plate1.h5ad", x=["X", "layers/counts", "obsm/X_pca"])
    loader = Loader(source, batch_size=8)
    plain, batch = next(iter(loader.fresh())), to_tensors(layout)(next(iter(loader)))
    assert [part.layout for part in batch["X"].values()] == [
        expected,
        expected,
        torch.strided,
    ]
    for name, part in plain["X"].items():
        held = part.toarray() if name != "obsm/X_pca" else part
        assert np.array_equal(batch["X"][name].to_dense().numpy(), held)
    padded = Loader(source, batch_size=8, output="padded", width=300)
    x = to_tensors(layout)(next(iter(padded)))["X"]
    assert {type(part) for part in x["X"].values()} == {torch.Tensor}


def test_another_layout_is_refused():
    with pytest.raises(ValueError, match=r"layout must be .csr. or .dense., got 'coo'"):
        to_tensors("coo")


def test_what_is_no_dict_batch_is_refused():
    with pytest.raises(TypeError, match="dict batches of a Loader over a source"):
        to_tensors()(np.ones(3))


def sent(batch):
    """Return a batch of a DataLoader's worker as the main process gets it."""
    with mock.patch.object(shared_memory, "get_worker_info", return_value="a worker's"):
        pickled = ForkingPickler.dumps(batch)
    return ForkingPickler.loads(pickled)


def sent_by_main(batch):
    """Return a batch of the main process as any other process gets it."""
    return ForkingPickler.loads(ForkingPickler.dumps(batch))


def assert_same(batch, other):
    assert isinstance(other, TensorBatch)
    assert other["X"].layout == batch["X"].layout
    assert torch.equal(other["X"].to_dense(), batch["X"].to_dense())
    assert torch.equal(other["index"], batch["index"])
    assert other["obs"].keys() == batch["obs"].keys()
    for name, column in batch["obs"].items():
        assert other["obs"][name].dtype == column.dtype
        assert torch.equal(
            torch.nan_to_num(other["obs"][name]), torch.nan_to_num(column)
        )


@pytest.mark.parametrize("layout", ["csr", "dense"])
@pytest.mark.parametrize(
    "through",
    [
        sent,
        sent_by_main,
        copy.copy,
        copy.deepcopy,
        lambda batch: pickle.loads(pickle.dumps(batch)),
    ],
    ids=["sent", "sent_by_main", "copy", "deepcopy", "pickle"],
)
def test_a_batch_travels_as_it_is(layout, through):
    batch = to_tensors(layout)(make_batch())
    assert_same(batch, through(batch))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.longdouble])
def test_scipys_csr_travels_too(dtype):
    batch = {"X": X.astype(dtype), "obs": {}, "index": np.arange(2)}
    other = sent(PlainBatch(batch))
    assert type(other) is dict
    assert other["X"].dtype == dtype
    assert np.array_equal(other["X"].toarray(), batch["X"].toarray())
    assert np.array_equal((other["X"] @ np.ones(3)), X @ np.ones(3))
    assert np.array_equal(other["index"], batch["index"])


D = torch.arange(12.0).reshape(3, 4)


# PyTorch warns where it rebuilds sparse tensors.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(D.to_sparse_coo(), id="coo"),
        pytest.param(D.clone().requires_grad_(), id="grad"),
        pytest.param(torch.nn.Parameter(D), id="parameter"),
        pytest.param(torch.complex(D, D).conj(), id="conjugate"),
        pytest.param(D.bfloat16().t(), id="transposed"),
    ],
)
def test_tensors_of_every_kind_travel(tensor):
    other = sent(PlainBatch(x=tensor, index=torch.arange(3)))
    assert type(other["x"]) is type(tensor)
    assert other["x"].layout == tensor.layout
    assert other["x"].requires_grad == tensor.requires_grad
    assert torch.equal(other["x"].to_dense(), tensor.to_dense())


def test_nested_mappings_keep_their_type():
    other = sent(PlainBatch(x=OrderedDict(a=D), y={"b": D}))
    assert type(other["x"]) is OrderedDict
    assert type(other["y"]) is dict
    assert torch.equal(other["x"]["a"], D)


def test_a_batch_of_the_main_process_may_go_to_several():
    # Packed, a second one would name a segment that only the first receiver has.
    batch = to_tensors()(make_batch())
    sent(batch)
    pickled = [bytes(ForkingPickler.dumps(batch)) for _ in range(2)]
    assert not any(b"_unpack" in text for text in pickled)


def test_an_empty_batch_travels():
    empty = to_tensors()({"X": X[:0], "obs": {}, "index": np.arange(0)})
    assert sent(empty)["X"].shape == (0, 3)


def test_a_batch_that_is_kept_is_not_overwritten_and_a_dropped_one_makes_room():
    batches = [to_tensors()(make_batch(X * k)) for k in range(5)]
    kept = [sent(batch) for batch in batches]
    for batch, other in zip(batches, kept, strict=True):
        assert_same(batch, other)
    part = kept[0]["X"].values()  # a view is enough to keep it
    places = {other["index"].data_ptr() for other in kept}
    assert len(places) == 5
    del kept, other
    again = [sent(batch) for batch in batches[:4]]
    assert {batch["index"].data_ptr() for batch in again} < places
    assert torch.equal(part, batches[0]["X"].values())


def test_a_larger_batch_gets_a_larger_segment():
    large = csr_array(np.ones((200, 500), np.float32))
    for x in (X, large, X):
        batch = to_tensors()({"X": x, "obs": {}, "index": np.arange(x.shape[0])})
        assert_same(batch, sent(batch))


def test_pinning_pins_the_parts_of_sparse_tensors(monkeypatch):
    pinned = []

    def pin(tensor):
        pinned.append(tensor.layout)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = to_tensors()(make_batch()).pin_memory()
    assert pinned == [torch.strided] * 8
    assert batch["X"].layout == torch.sparse_csr
    assert isinstance(batch, TensorBatch)


def test_a_dataloader_pins_through_the_batch(monkeypatch):
    from torch.utils.data._utils.pin_memory import pin_memory

    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    batch = pin_memory(to_tensors()(make_batch()))
    assert batch["X"].layout == torch.sparse_csr


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("collate", [None, to_tensors("csr")])
def test_to_device_without_a_gpu_moves_each_batch(plates, dense, collate):
    source = open(plates / "plate1.h5ad", obs=["drug"])
    loader = Loader(source, BlockShuffling(8), batch_size=64)
    expected = [batch["X"].toarray() for batch in loader]
    loader.set_epoch(0)
    moved = list(to_device(LoaderDataset(loader, collate), "cpu", dense=dense))
    layout = torch.strided if dense else torch.sparse_csr
    assert {batch["X"].layout for batch in moved} == {layout}
    for batch, x in zip(moved, expected, strict=True):
        assert np.array_equal(batch["X"].to_dense().numpy(), x)
        assert isinstance(batch["obs"]["drug"], torch.Tensor)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_to_device_makes_unsigned_counts_dense(dtype):
    counts = np.array([[0, 2, 0], [np.iinfo(dtype).max, 0, 3]], dtype)
    batches = Loader(open(csr_array(counts)), batch_size=2)
    x = next(to_device(batches, "cpu", dense=True))["X"]
    assert x.dtype == getattr(torch, dtype)
    assert sorted(x.numpy().tolist()) == sorted(counts.tolist())


def test_to_device_keeps_lists_tuples_and_other_things():
    Pair = namedtuple("Pair", ["x", "name"])
    batch = [
        Pair(np.arange(2), "a"),
        (torch.ones(1), None),
        OrderedDict(x=np.arange(3)),
        MappingProxyType({"x": np.arange(4)}),  # cannot be copied: becomes a dict
    ]
    moved = next(to_device([batch], "cpu"))
    assert type(moved[2]) is OrderedDict
    assert torch.equal(moved[2]["x"], torch.arange(3))
    assert torch.equal(moved[3]["x"], torch.arange(4))
    assert type(moved[0]).__name__ == "Pair"
    assert moved[0].x.tolist() == [0, 1]
    assert moved[0].name == "a"
    assert moved[1][1] is None


def test_to_device_reads_no_further_than_it_is_asked():
    taken: list[int] = []

    def source():
        for number in range(10):
            taken.append(number)
            yield {"index": np.array([number])}

    batches = to_device(source(), "cpu")
    next(batches)
    assert taken == [0]


def test_ahead_must_be_positive():
    with pytest.raises(ValueError, match="ahead must be at least 1, got 0"):
        to_device([], "cpu", ahead=0)


class FakeStream:
    """A stream that notes what is done on it."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def record_event(self):
        self.log.append(f"{self.name} records")
        return self.name

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event}")

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return None


@pytest.mark.parametrize("ahead", [1, 2])
def test_the_side_stream_copies_ahead_and_is_waited_for(monkeypatch, ahead):
    log: list[str] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(log, "side"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda device: FakeStream(log, "main")
    )
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    batches = iter([to_tensors()(make_batch()) for _ in range(4)])
    moved = _copy_on_side_stream(batches, torch.device("cpu"), dense=True, ahead=ahead)
    first = next(moved)
    assert log == ["side records"] * (ahead + 1) + ["main waits for side"]
    assert first["X"].layout == torch.strided
    assert len(list(moved)) == 3
    assert log.count("main waits for side") == log.count("side records") == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("ahead", [1, 3])
def test_to_device_on_a_gpu(plates, dense, ahead):
    source = open(plates / "*.h5ad", obs=["drug"])
    loader = Loader(source, BlockShuffling(8), batch_size=64)
    expected = [batch["X"].toarray() for batch in loader]
    loader.set_epoch(0)
    batches = to_device(LoaderDataset(loader), "cuda", dense=dense, ahead=ahead)
    moved = list(batches)
    for batch, x in zip(moved, expected, strict=True):
        assert batch["X"].is_cuda
        assert np.array_equal(batch["X"].to_dense().cpu().numpy(), x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_pinned_memory_on_a_gpu(plates, num_workers):
    loader = Loader(open(plates / "*.h5ad", obs=["drug"]), batch_size=64)
    batches = torch.utils.data.DataLoader(
        LoaderDataset(loader, to_tensors()),
        batch_size=None,
        num_workers=num_workers,
        pin_memory=True,
    )
    for batch in batches:
        assert batch["X"].values().is_pinned()
        assert batch["obs"]["drug"].is_pinned()
