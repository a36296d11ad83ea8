"""Runs epochs for a long time, and prints what the process holds meanwhile.

::

    python -m tests.hostile.soak --minutes 60 plates/*.h5ad

Each turn makes a Loader with other settings, of one source that stays open and of one
that is opened anew, and takes some batches: to the end, or until the iterator is
abandoned. Resident memory, open descriptors and threads are printed as a table.
"""

import argparse
import gc
import random
import threading
import time
import warnings
from pathlib import Path

import scdataset_core as scd


def count_held() -> tuple[float, int, int]:
    """Return resident memory in MB, open descriptors and threads of the process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    return pages * 4096 / 1e6, n_open, threading.active_count()


def take_turn(source: scd.Source, rng: random.Random) -> int:
    """Read some of an epoch with random settings; return the batches taken."""
    loader = scd.Loader(
        source,
        rng.choice([scd.Streaming(), scd.BlockShuffling(16), scd.BlockShuffling(4)]),
        batch_size=rng.choice([16, 64, 256]),
        fetch_factor=rng.choice([1, 4, 16]),
        output=rng.choice(["csr", "dense"]),
        read_ahead=rng.choice([0, 1, 2]),
        threads=rng.choice([1, 2, 4]),
        seed=rng.randrange(100),
    )
    most, n = rng.choice([1, 3, 50]), 0
    batches = iter(loader)
    for _ in batches:
        n += 1
        if n == most:
            break
    how = rng.randrange(3)
    if how == 0:
        batches.close()
    elif how == 1:
        next(iter(loader), None)  # a second one, while the first is open
    return n


def main() -> None:
    """Run turns for the time asked for, and print a row every thirtieth of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rows", type=int, default=30)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rng, kept = random.Random(0), scd.open(asked.files)
    begun, shown, turns, batches = time.monotonic(), 0, 0, 0
    print(f"{'minute':>8}{'turns':>8}{'batches':>9}{'MB':>8}{'open':>6}{'threads':>9}")
    while (minutes := (time.monotonic() - begun) / 60) < asked.minutes:
        fresh = scd.open(asked.files) if turns % 8 == 0 else kept
        batches += take_turn(fresh, rng)
        turns += 1
        if minutes * asked.rows >= shown * asked.minutes:
            del fresh
            gc.collect()
            memory, n_open, threads = count_held()
            print(
                f"{minutes:8.1f}{turns:8}{batches:9}{memory:8.0f}{n_open:6}{threads:9}",
                flush=True,
            )
            shown += 1


if __name__ == "__main__":
    main()
