"""The Lightning DataModule: loaders for each stage, and resuming within an epoch."""

import pickle

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")

from scdataset_torch.lightning import LoaderDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open, split
from tests.integrations.contract import InProcessContract
from tests.integrations.lightning_models import (
    QUIET,
    ROWS,
    Rows,
    fit,
    make_trainer,
    orders,
    saving,
    small_data,
    small_loader,
)
from tests.integrations.torch_contract import DataLoaderContract

pytestmark = QUIET


class TrainingBatches:
    """The training dataloader of a module, epoch after epoch."""

    def __init__(self, loader, state):
        self.batches = LoaderDataModule(train=loader).train_dataloader()
        if state is not None:
            self.batches.load_state_dict(state)

    def __iter__(self):
        while True:
            yield from self.batches

    def state(self):
        return self.batches.state_dict()


class TestDataModuleWithoutTrainer(DataLoaderContract, InProcessContract):
    """The dataloader that the module gives for training, outside of a trainer."""

    def one_epoch(self, loader):
        return LoaderDataModule(train=loader).train_dataloader()

    def run(self, loader, state=None):
        return TrainingBatches(loader, state)


def test_overfitting_has_the_same_batches_each_epoch(tmp_path):
    keeping = saving(tmp_path, every_n_train_steps=2)
    data = small_data()
    seen, _ = fit(tmp_path, data, max_epochs=3, overfit_batches=3, **keeping)
    assert seen == 3 * orders(1, 3)
    for step in (2, 4, 6):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, small_data(), path, max_epochs=4, overfit_batches=3)
        assert rest == (4 * orders(1, 3))[step:]


def test_epochs_are_counted_from_where_the_loader_stands(tmp_path):
    loader = small_loader()
    loader.set_epoch(1)
    iterator = iter(loader)
    head = [next(iterator)["index"].tolist() for _ in range(3)]
    given = small_loader()
    given.load_state_dict(loader.state_dict())
    seen, trainer = fit(tmp_path, LoaderDataModule(train=given), max_epochs=2)
    assert orders(1) + head + seen == orders(3)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    rest, _ = fit(
        tmp_path,
        LoaderDataModule(train=small_loader()),
        tmp_path / "x.ckpt",
        max_epochs=3,
    )
    assert rest == orders(4)[30:]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_has_every_row_once_over_the_ranks(monkeypatch, world_size):
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    val = Loader(open(ROWS), BlockShuffling(4), batch_size=8, fetch_factor=2)
    seen = []
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        data = LoaderDataModule(val=val, test=val, predict=val)
        for name in ("val", "test", "predict"):
            batches = getattr(data, f"{name}_dataloader")()
            twice = [[b["index"].tolist() for b in batches] for _ in range(2)]
            assert twice[0] == twice[1]
            assert len(twice[0]) == len(batches) == -(-13 // world_size)
        seen += twice[0]
    rows = np.concatenate(seen)
    assert sorted(rows[rows >= 0].tolist()) == list(range(100))


def test_validation_test_and_prediction_run(tmp_path):
    model = Rows()
    trainer = make_trainer(tmp_path, enable_checkpointing=False)
    data = LoaderDataModule(val=small_loader(), test=small_loader())
    trainer.validate(model, datamodule=data)
    trainer.test(model, datamodule=data)
    assert model.validated == 2 * orders(1)
    data = LoaderDataModule(predict=small_loader())
    trainer.predict(model, datamodule=data)
    assert model.predicted == orders(1)


def test_a_module_that_is_pickled_leaves_its_data_sets_behind():
    data = small_data()
    assert data.train_dataloader().dataset is data.train_dataloader().dataset
    other = pickle.loads(pickle.dumps(data))
    assert other.train_dataloader().dataset is not data.train_dataloader().dataset
    assert [b["index"].tolist() for b in other.train_dataloader()] == orders(1)


def test_an_iterator_that_is_not_used_is_no_epoch():
    loader = LoaderDataModule(train=Loader(np.arange(10))).train_dataloader()
    list(loader)
    iter(loader)
    assert loader.state_dict()["done"] == [[0, 1]]
    list(loader)
    assert loader.dataset.epoch == 1


def test_stages_without_a_loader_have_no_dataloaders():
    data = LoaderDataModule(val=Loader(np.arange(10)))
    assert data.test_dataloader() == []
    assert data.predict_dataloader() == []
    with pytest.raises(ValueError, match=r"LoaderDataModule\(train=\.\.\.\)"):
        data.train_dataloader()


def test_what_is_no_loader_is_refused():
    with pytest.raises(TypeError, match=r"val must be a scdataset_core\.Loader"):
        LoaderDataModule(val=np.arange(10))


def test_options_that_make_batches_are_refused():
    with pytest.raises(TypeError, match="batch_size is the Loader's to decide"):
        LoaderDataModule(train=Loader(np.arange(10)), batch_size=4)


def test_state_of_a_dataloader_counts_what_it_gave():
    data = LoaderDataModule(train=Loader(np.arange(100), batch_size=10))
    loader = data.train_dataloader()
    assert len(loader) == 10
    iterator = iter(loader)
    seen = [next(iterator).tolist() for _ in range(3)]
    other = data.train_dataloader()
    other.load_state_dict(loader.state_dict())
    seen += [batch.tolist() for batch in other]
    assert sorted(np.concatenate(seen).tolist()) == list(range(100))
    assert len(list(other)) == 10
    assert other.dataset.epoch == 1


def test_a_split_stands_for_the_loaders():
    parts = split(open(ROWS), {"train": 0.6, "val": 0.3, "test": 0.1}, seed=1)
    data = LoaderDataModule(
        parts,
        strategy=BlockShuffling(4),
        batch_size=8,
        fetch_factor=2,
        seed=3,
        drop_last=True,
        collate=lambda batch: batch["index"],
        num_workers=0,
    )
    loader = Loader(
        parts.source,
        BlockShuffling(4, indices=parts["train"]),
        batch_size=8,
        fetch_factor=2,
        seed=3,
        drop_last=True,
    )
    seen = [rows.tolist() for rows in data.train_dataloader()]
    assert seen == [batch["index"].tolist() for batch in loader]
    for name in ("val", "test"):
        rows = np.concatenate(list(getattr(data, f"{name}_dataloader")()))
        assert rows[rows >= 0].tolist() == list(parts[name])
    assert data.predict_dataloader() == []


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda parts: {"val": Loader(np.arange(10))}, TypeError, "and val is one"),
        (lambda parts: {"shuffle": True}, TypeError, "shuffle is the Loader's"),
        (lambda parts: {"strategy": object()}, TypeError, "no method restrict"),
        (lambda parts: {"strategy": Streaming}, TypeError, "give an instance of it"),
        (
            lambda parts: {"strategy": Streaming(indices=[1])},
            ValueError,
            "has indices already",
        ),
    ],
)
def test_what_does_not_go_with_a_split_is_refused(make, error, message):
    parts = split(np.arange(100), {"train": 0.6, "val": 0.4})
    with pytest.raises(error, match=message):
        LoaderDataModule(parts, **make(parts))


def test_parts_are_called_as_the_stages():
    parts = split(np.arange(100), {"train": 0.6, "valid": 0.4})
    with pytest.raises(KeyError, match=r'part "valid".*mean "val"'):
        LoaderDataModule(parts)
    with pytest.raises(TypeError, match="strategy goes with a split"):
        LoaderDataModule(train=Loader(np.arange(10)), strategy=Streaming())


@pytest.mark.parametrize("n_taken", [3, 10])
def test_a_state_that_is_loaded_is_the_state_of_the_dataloader(n_taken):
    data = LoaderDataModule(train=Loader(np.arange(100), batch_size=10))
    loader = data.train_dataloader()
    iterator = iter(loader)
    for _ in range(n_taken):
        next(iterator)
    state = loader.state_dict()
    for _ in range(10 - n_taken):
        next(iterator)
    loader.load_state_dict(state)
    rest = LoaderDataModule(train=Loader(np.arange(100), batch_size=10))
    resumed = rest.train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert [b.tolist() for b in resumed] == [b.tolist() for b in loader]
