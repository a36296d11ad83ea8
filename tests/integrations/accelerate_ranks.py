"""Run by test_torch_accelerate.py: two ranks, under accelerate and the Trainer.

Usage: ``python accelerate_ranks.py FOLDER`` with WORLD_SIZE and the like in the
environment; writes what a rank saw to ``FOLDER/{rank}.json``. The ranks are forked, as
they take far longer to import what they need than to run.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, skip_first_batches
from scdataset_torch import LoaderDataset
from scdataset_torch.accelerate import rank_dataloader
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from scdataset_core import BlockShuffling, Loader, StateError

N_ROWS = 240


def make_loader():
    data = np.arange(N_ROWS, dtype=np.float32)[:, None]
    return Loader(data, BlockShuffling(4), batch_size=4, fetch_factor=3, seed=5)


def rows_of(batch):
    return batch[:, 0].to(torch.int64).tolist()


def dealt_twice(accelerator):
    """Return what accelerate is told that would deal out one rank's share."""
    batches = DataLoader(LoaderDataset(make_loader()), batch_size=None)
    try:
        next(iter(accelerator.prepare(batches)))
    except StateError as error:
        return str(error)
    return ""


def dealt_by_accelerate(accelerator):
    dataset = LoaderDataset(make_loader(), ranks=False)
    batches = accelerator.prepare(DataLoader(dataset, batch_size=None))
    return [[rows_of(batch) for batch in batches] for _ in range(2)]


def read_by_each_rank(accelerator, num_workers):
    dataset = LoaderDataset(make_loader())
    options = {"multiprocessing_context": "fork"} if num_workers else {}
    batches = rank_dataloader(
        dataset, accelerator.device, num_workers=num_workers, **options
    )
    assert accelerator.prepare(batches) is batches
    epochs = [[rows_of(batch) for batch in batches] for _ in range(2)]
    again = rank_dataloader(LoaderDataset(make_loader()), accelerator.device)
    again.set_epoch(1)
    skipped = [rows_of(batch) for batch in skip_first_batches(again, 7)]
    iterator = iter(batches)
    epochs.append([rows_of(next(iterator)) for _ in range(5)])
    loader = make_loader()
    loader.load_state_dict(dataset.state_after(5, num_workers))
    del iterator
    resumed = rank_dataloader(LoaderDataset(loader), accelerator.device)
    after = [[rows_of(batch) for batch in resumed] for _ in range(2)]
    return {"epochs": epochs, "skipped": skipped, "after": after}


def made_too_early(accelerator):
    try:
        rank_dataloader(LoaderDataset(make_loader(), ranks=False))
    except ValueError as error:
        return str(error)
    return ""


class Model(torch.nn.Module):
    """Notes which rows it is trained on."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def forward(self, x):
        self.seen.append(rows_of(x))
        return {"loss": self.layer(x / N_ROWS).square().mean()}


class RankTrainer(Trainer):
    """Reads as `docs/accelerate.md` prints."""

    def get_train_dataloader(self):
        return rank_dataloader(self.train_dataset, self.args.device)


def trained(folder, resume_from=None):
    """Return the rows of two epochs, or of what is left after a checkpoint."""
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=2,
        save_steps=20,
        save_strategy="steps",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = Model()
    dataset = LoaderDataset(make_loader(), collate=lambda x: {"x": torch.from_numpy(x)})
    RankTrainer(model, arguments, train_dataset=dataset).train(
        resume_from_checkpoint=resume_from
    )
    return model.seen


def run_rank(rank, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    accelerator = Accelerator(cpu=True)
    seen = {
        "dealt_twice": dealt_twice(accelerator),
        "made_too_early": made_too_early(accelerator),
        "dealt": dealt_by_accelerate(accelerator),
        "read": [read_by_each_rank(accelerator, workers) for workers in (0, 2)],
    }
    seen["trained"] = trained(folder)
    # 60 minibatches of an epoch are 30 steps of each rank: in epochs 0 and 1.
    for step in (20, 40):
        checkpoint = folder / "trainer" / f"checkpoint-{step}"
        seen[f"from_{step}"] = trained(folder, str(checkpoint))
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


def main(folder):
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=run_rank, args=(rank, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a rank ended with {process.exitcode}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
