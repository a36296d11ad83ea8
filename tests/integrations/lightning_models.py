"""Models, trainers and data by which tests of the Lightning module train."""

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")

import lightning
import torch
from scdataset_torch import to_tensors
from scdataset_torch.lightning import LoaderDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open

QUIET = [
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
