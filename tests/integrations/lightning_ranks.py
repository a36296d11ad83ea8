"""Run by test_torch_lightning_resume.py: two ranks of Lightning, each a process.

Usage: ``python lightning_ranks.py FOLDER STEP ...``; Lightning starts the second rank
itself. Trains from the start, and again from the checkpoint of each step. Writes what a
rank saw in each training to ``FOLDER/{rank}.json``.
"""

import json
import sys
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from scdataset_torch import to_tensors
from scdataset_torch.lightning import LoaderDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open

ROWS = np.arange(400, dtype=np.float32).reshape(200, 2)


class Model(lightning.LightningModule):
    """Has batch normalisation, for which ranks wait for each other in validation."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["index"].tolist())
        return self.layer(batch["X"]).square().mean()

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            self.validated.append(batch["index"].tolist())
        self.layer(batch["X"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trained(folder, checkpoint):
    """Return what this rank saw."""
    train = BlockShuffling(4, indices=np.arange(120))
    val = Streaming(indices=np.arange(120, 200))
    data = LoaderDataModule(
        train=Loader(open(ROWS), train, batch_size=10, fetch_factor=2),
        val=Loader(open(ROWS), val, batch_size=16),
        collate=to_tensors("dense"),
    )
    saving = ModelCheckpoint(
        folder,
        "{step}",
        every_n_train_steps=3,
        save_top_k=-1,
        enable_version_counter=False,
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=3,
        logger=False,
        callbacks=[saving],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Model()
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    return {"seen": model.seen, "validated": model.validated}


def main(folder, *steps):
    results = [trained(folder / "whole", None)]
    for step in steps:
        checkpoint = folder / "whole" / f"step={step}.ckpt"
        results.append(trained(folder / f"from {step}", checkpoint))
    rank = torch.distributed.get_rank()
    (folder / f"{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
