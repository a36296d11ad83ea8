"""The Lightning DataModule: loaders for each stage, and resuming within an epoch."""

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")

import lightning
import torch
from scdataset_torch import to_tensors
from scdataset_torch.lightning import LoaderDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open

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
