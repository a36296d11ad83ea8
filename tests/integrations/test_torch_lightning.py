"""The Lightning DataModule: loaders for each stage, and resuming within an epoch."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")

import lightning
import torch
from scdataset_torch import to_tensors
from scdataset_torch.lightning import LoaderDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open, split
from tests.integrations.contract import InProcessContract
from tests.integrations.torch_contract import DataLoaderContract

pytestmark = [
    # Lightning warns of settings that only speed or its own logging want, and of what
    # it imports itself.
    pytest.mark.filterwarnings(
        "ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


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


class Probe(lightning.LightningModule):
    """A linear probe that notes which cells it was given."""

    def __init__(self, n_genes):
        super().__init__()
        self.layer = torch.nn.Linear(n_genes, 3)
        self.seen = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["index"].tolist())
        logits = self.layer(batch["X"])
        return torch.nn.functional.cross_entropy(logits, batch["obs"]["drug"])

    def validation_step(self, batch, batch_idx):
        self.validated += batch["index"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make_trainer(folder, **options):
    return lightning.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def make_data(plates, num_workers):
    source = open(plates / "*.h5ad", obs=["drug"])
    train = BlockShuffling(8, indices=np.arange(800))
    val = Streaming(indices=np.arange(800, 1200))
    return LoaderDataModule(
        train=Loader(source, train, batch_size=32, fetch_factor=4),
        val=Loader(source, val, batch_size=64),
        collate=to_tensors("dense"),
        num_workers=num_workers,
        multiprocessing_context="fork" if num_workers else None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_stops_within_an_epoch_and_goes_on(plates, tmp_path, num_workers):
    whole = Probe(300)
    make_trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(
        whole, datamodule=make_data(plates, num_workers)
    )
    assert len(whole.seen) == 3 * 25
    assert sorted(np.concatenate(whole.seen[25:50]).tolist()) == list(range(800))
    assert set(whole.validated) == set(range(800, 1200))

    first = Probe(300)
    saving = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, "at{step}", every_n_train_steps=35, save_top_k=-1
    )
    trainer = make_trainer(tmp_path, max_epochs=3, max_steps=35, callbacks=[saving])
    trainer.fit(first, datamodule=make_data(plates, num_workers))
    assert first.seen == whole.seen[:35]

    second = Probe(300)
    make_trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(
        second,
        datamodule=make_data(plates, num_workers=0),
        ckpt_path=saving.best_model_path,
        weights_only=False,
    )
    rest = np.concatenate(second.seen).tolist()
    assert sorted(rest) == sorted(np.concatenate(whole.seen[35:]).tolist())
    if num_workers == 0:
        assert second.seen == whole.seen[35:]


@pytest.mark.slow
def test_training_stops_at_the_end_of_an_epoch_and_goes_on(plates, tmp_path):
    whole = make_data(plates, num_workers=0).train_dataloader()
    expected = [batch["index"].tolist() for _ in range(3) for batch in whole]
    seen, path = [], None
    for n_steps in (25, 30, 75):
        part = Probe(300)
        trainer = make_trainer(
            tmp_path, max_epochs=9, max_steps=n_steps, enable_checkpointing=False
        )
        data = make_data(plates, num_workers=0)
        trainer.fit(part, datamodule=data, ckpt_path=path, weights_only=False)
        path = tmp_path / f"{n_steps}.ckpt"
        trainer.save_checkpoint(path)
        seen += part.seen
    assert [list(rows) for rows in seen] == expected


HERE = Path(__file__).parent
ROWS = np.arange(200, dtype=np.float32).reshape(100, 2)
EPOCH = 10  # batches


def small_loader():
    return Loader(open(ROWS), BlockShuffling(4), batch_size=10, fetch_factor=2)


def small_data(**options):
    return LoaderDataModule(
        train=small_loader(), val=Loader(open(ROWS), batch_size=50), **options
    )


class Rows(lightning.LightningModule):
    """Notes which rows it was given, batch by batch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen, self.validated, self.predicted = [], [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["index"].tolist())
        return self.layer(batch["X"]).mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch["index"].tolist())

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        self.predicted.append(batch["index"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def orders(n_epochs, n_batches=EPOCH):
    """Return the batches of the Loader's first epochs, and no others."""
    loader = small_loader()
    return [
        batch["index"].tolist()
        for _ in range(n_epochs)
        for batch in [*loader][:n_batches]
    ]


def fit(folder, data, path=None, **options):
    """Return the batches that a new model is trained on."""
    model = Rows()
    options = {"enable_checkpointing": False, "num_sanity_val_steps": 0, **options}
    trainer = make_trainer(folder, **options)
    trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=False)
    return model.seen, trainer


def saving(folder, **options):
    """Return options of a trainer that keeps a checkpoint each `options` say."""
    callback = lightning.pytorch.callbacks.ModelCheckpoint(
        folder, "{step}", save_top_k=-1, **options
    )
    return {"callbacks": [callback], "enable_checkpointing": True}


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        pytest.param({}, [10, 20], id="end_of_epoch"),
        pytest.param({"every_n_train_steps": 5}, [5, 10, 15, 20], id="steps"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"reload_dataloaders_every_n_epochs": 1}, id="reload"),
        pytest.param({"val_check_interval": 0.5}, id="validation_within"),
    ],
)
def test_any_checkpoint_is_gone_on_from(tmp_path, when, steps, options):
    keeping = saving(tmp_path, **when)
    seen, _ = fit(tmp_path, small_data(), max_epochs=2, **options, **keeping)
    assert seen == orders(2)
    for step in steps:
        rest, _ = fit(
            tmp_path,
            small_data(),
            tmp_path / f"step={step}.ckpt",
            max_epochs=3,
            **options,
        )
        assert rest == orders(3)[step:]


def test_checkpoints_of_epochs_that_were_cut_short_are_gone_on_from(tmp_path):
    limit = {"limit_train_batches": 4}
    keeping = saving(tmp_path, every_n_train_steps=2)
    seen, _ = fit(tmp_path, small_data(), max_epochs=3, **limit, **keeping)
    assert seen == orders(3, 4)
    for step in (2, 4, 6, 8, 12):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, small_data(), path, max_epochs=4, **limit)
        assert rest == orders(4, 4)[step:]


@pytest.mark.parametrize("n_batches", [4, EPOCH])
@pytest.mark.parametrize("first", [2, 4, 6, 10, 13])
def test_runs_that_max_steps_ended_are_gone_on_from(tmp_path, first, n_batches):
    limit = {"limit_train_batches": n_batches, "max_epochs": 9}
    seen, path = [], None
    for step in (first, first + 3, 20):  # on from a run that was gone on from
        part, trainer = fit(tmp_path, small_data(), path, max_steps=step, **limit)
        path = tmp_path / f"{step}.ckpt"
        trainer.save_checkpoint(path)
        seen += part
    assert seen == orders(6, n_batches)[:20]


def test_overfitting_has_the_same_batches_each_epoch(tmp_path):
    keeping = saving(tmp_path, every_n_train_steps=2)
    data = small_data()
    seen, _ = fit(tmp_path, data, max_epochs=3, overfit_batches=3, **keeping)
    assert seen == 3 * orders(1, 3)
    for step in (2, 4, 6):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, small_data(), path, max_epochs=4, overfit_batches=3)
        assert rest == (4 * orders(1, 3))[step:]


def test_a_second_fit_goes_on_with_the_trainers_epochs(tmp_path):
    data = small_data()
    seen, trainer = fit(tmp_path, data, max_epochs=1)
    trainer.fit_loop.max_epochs = 3
    model = Rows()
    trainer.fit(model, datamodule=data)
    assert seen + model.seen == orders(3)
    again, _ = fit(tmp_path, data, max_epochs=1)
    assert again == seen


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


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 1)])
def test_another_number_of_workers_goes_on(tmp_path, before, after):
    def data(num_workers):
        method = "fork" if num_workers else None
        return small_data(num_workers=num_workers, multiprocessing_context=method)

    keeping = saving(tmp_path, every_n_train_steps=5)
    seen, _ = fit(tmp_path, data(before), max_epochs=2, **keeping)
    for step in (5, 10, 15, 20):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, data(after), path, max_epochs=3)
        both = seen[:step] + rest
        for epoch in range(3):
            own = orders(3)[epoch * EPOCH : (epoch + 1) * EPOCH]
            assert sorted(both[epoch * EPOCH : (epoch + 1) * EPOCH]) == sorted(own)


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


def run_ranks(folder, *checkpoint):
    """Return what each of two ranks saw."""
    folder.mkdir()
    out = subprocess.run(
        [sys.executable, str(HERE / "lightning_ranks.py"), str(folder), *checkpoint],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.timeout(600)  # six processes, which import Lightning first
def test_two_ranks_train_evaluate_and_go_on(tmp_path):
    ranks = run_ranks(tmp_path / "whole")
    for epoch in range(3):
        rows = np.concatenate(
            [row["seen"][epoch * 6 : epoch * 6 + 6] for row in ranks], axis=None
        )
        assert sorted(rows.tolist()) == list(range(120))
        rows = np.concatenate(
            [row["validated"][epoch * 3 : epoch * 3 + 3] for row in ranks], axis=None
        )
        assert sorted(rows[rows >= 0].tolist()) == list(range(120, 200))
    for step in (9, 12):
        path = tmp_path / "whole" / f"step={step}.ckpt"
        resumed = run_ranks(tmp_path / str(step), str(path))
        for rank, again in zip(ranks, resumed, strict=True):
            assert again["seen"] == rank["seen"][step:]


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
