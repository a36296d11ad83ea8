"""Runs epochs for a long time, and prints what the process holds meanwhile.

::

    python -m tests.hostile.soak --minutes 60 plates/*.h5ad

Each turn makes a Loader with other settings, of one source that stays open and of one
that is opened anew, and takes some batches: to the end, or until the iterator is
abandoned. What the process holds is printed as a table: resident memory, what of it is
in use (C's allocator keeps freed memory for each thread that took some, and gives it
back as it sees fit), open descriptors, threads, and blocks of memory of Python objects.
"""

import argparse
import ctypes
import gc
import random
import sys
import threading
import time
import warnings
from pathlib import Path

import scdataset_core as scd


class _Allocations(ctypes.Structure):
    """What ``mallinfo2`` of the GNU C library tells."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def count_held() -> tuple[float, float, int, int, int]:
    """Return what the process holds.

    Returns
    -------
    resident, used, descriptors, threads, blocks
        Resident memory and what C's allocator has given out, in MB; open descriptors,
        threads, and blocks of memory of Python objects.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Allocations
    told = mallinfo()
    return (
        pages * 4096 / 1e6,
        (told.uordblks + told.hblkhd) / 1e6,
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
        sys.getallocatedblocks(),
    )


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
    heads = ("minute", "turns", "batches", "MB", "in use", "open", "threads", "blocks")
    print("".join(f"{head:>9}" for head in heads))
    while (minutes := (time.monotonic() - begun) / 60) < asked.minutes:
        fresh = scd.open(asked.files) if turns % 8 == 0 else kept
        batches += take_turn(fresh, rng)
        turns += 1
        if minutes * asked.rows >= shown * asked.minutes:
            del fresh
            gc.collect()
            held = "".join(f"{number:9.0f}" for number in count_held())
            print(f"{minutes:9.1f}{turns:9}{batches:9}{held}", flush=True)
            shown += 1


if __name__ == "__main__":
    main()
