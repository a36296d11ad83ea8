"""Run by test_torch_distributed.py: ranks of one gloo group, each in its own process.

Usage: ``python torch_ranks.py FOLDER WORLD_SIZE``; writes what every rank saw to
``FOLDER/{num_workers}-{rank}.json``.
"""

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from scdataset_torch import LoaderDataset, scDataset
from scdataset_torch.compat import BlockShuffling as OldShuffling
from torch.utils.data import DataLoader

from scdataset_core import BlockShuffling, Loader

N_ROWS, N_EPOCHS = 230, 2


def make_loader(uneven):
    return Loader(
        np.arange(N_ROWS),
        BlockShuffling(4),
        batch_size=4,
        fetch_factor=3,
        seed=5,
        uneven=uneven,
    )


def epochs(dataset, num_workers):
    persistent = num_workers > 0
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context="fork" if persistent else None,
    )
    listed = []
    for _ in range(N_EPOCHS):
        batches = []
        for batch in loader:
            batches.append(np.asarray(batch).tolist())
            # Hangs, and is reported, where ranks have unequal numbers of batches.
            dist.all_reduce(torch.ones(1))
        listed.append(batches)
    return {"len": len(loader), "epochs": listed}


def run_rank(rank, world_size, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=world_size)
    for num_workers in (0, 2):
        torch.manual_seed(rank)  # an unseeded scDataset shares rank 0's draw
        old = scDataset(np.arange(N_ROWS), OldShuffling(4), 4, fetch_factor=3)
        seen = {
            "trim": epochs(LoaderDataset(make_loader("trim")), num_workers),
            "pad": epochs(LoaderDataset(make_loader("pad")), num_workers),
            "compat": epochs(old, num_workers),
        }
        path = Path(folder) / f"{num_workers}-{rank}.json"
        path.write_text(json.dumps(seen))
    dist.barrier()
    dist.destroy_process_group()


def main(folder, world_size):
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=run_rank, args=(rank, world_size, folder))
        for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a rank ended with {process.exitcode}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
