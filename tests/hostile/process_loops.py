"""Programs that read for ever, until a test ends them.

::

    python -m tests.hostile.process_loops WAY CACHE FILE...

Each prints "ready" when it has read something, and what it finds wrong.
"""

import os
import random
import sys
from collections.abc import Callable
from functools import cache
from itertools import count

import scdataset_core as scd

Open = Callable[[], scd.Source]


def digest(source: scd.Source, seed: int) -> list[float]:
    """Return a number for each minibatch of an epoch."""
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=16, seed=seed)
    return [float(batch["X"].sum() + batch["index"][0]) for batch in loader]


@cache
def say_ready() -> None:
    """Print once that something was read."""
    print("ready", flush=True)


def read(opened: Open) -> None:
    """Read epochs; each iterator of a second loader is left where it is."""
    left: list[object] = []
    for seed in count():
        source = opened()
        digest(source, seed)
        say_ready()
        batches = iter(scd.Loader(source, batch_size=8))
        next(batches)
        left = [*left[-3:], batches]


def fork(opened: Open) -> None:
    """Fork children that read what this process reads, while its threads read."""
    source, rng = opened(), random.Random(0)
    expected = digest(source, 0)
    say_ready()
    for _ in count():
        batches = iter(scd.Loader(source, scd.BlockShuffling(4), batch_size=16))
        for _ in range(rng.randrange(6)):
            next(batches)
        child = os.fork()
        if child == 0:
            again = source if rng.random() < 0.5 else opened()
            same = digest(again, 0) == expected
            sys.exit(0 if same else 3)  # as a program ends, with what runs then
        assert sum(1 for _ in batches) > 0
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            print("a child ended with", code, flush=True)


def isolate(opened: Open) -> None:
    """Open files in the child process."""
    del opened
    for number in count():
        files = sys.argv[3:]
        source = scd.open(files[number % len(files)], obs=True, isolated=True)
        digest(source, number)
        say_ready()


def load(opened: Open) -> None:
    """Read by the workers of a DataLoader of PyTorch."""
    from scdataset_torch import LoaderDataset, to_tensors
    from torch.utils.data import DataLoader

    loader = scd.Loader(opened(), scd.BlockShuffling(4), batch_size=16)
    dataset = LoaderDataset(loader, collate=to_tensors("csr"))
    for _ in count():
        for _ in DataLoader(dataset, batch_size=None, num_workers=2):
            say_ready()


WAYS = {"read": read, "fork": fork, "isolate": isolate, "load": load}


def main() -> None:
    """Read in the way that is asked for."""
    way, folder, *files = sys.argv[1:]
    WAYS[way](lambda: scd.open(files, obs=True, cache=folder))


if __name__ == "__main__":
    main()
