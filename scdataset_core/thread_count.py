"""Choose how many threads read, where several workers and ranks share the cores."""

import os

from .checks import check_count
from .shares import Shard
from .storage.context import MOST_THREADS, available_cores

__all__ = ["check_threads", "choose_threads"]

# More than any machine has use for: each is started when an epoch begins.
_MOST = 1024


def check_threads(threads: object) -> None:
    """Raise unless `threads` is a number of threads that can be started, or None."""
    if threads is None:
        return
    check_count("threads", threads)
    if threads > _MOST:  # type: ignore[operator] # it is an integer
        raise ValueError(f"threads must be at most {_MOST}, got {threads}")


def choose_threads(
    threads: int | None, shard: Shard, n_ranks_here: int | None = None
) -> int:
    """Return how many threads a loader reads and decodes with.

    By default it is one for each core that the process may use, at most 8. Workers,
    and ranks on the same machine, divide the cores among them; each has at least one.

    Parameters
    ----------
    threads
        What the user gave; None: the default.
    shard
        Which of how many ranks and workers the loader is.
    n_ranks_here
        How many of the ranks run on this machine; by default it is found out.
    """
    if threads is not None:
        return threads
    if n_ranks_here is None:
        n_ranks_here = _count_ranks_here(shard.world_size)
    n_processes = shard.num_workers * n_ranks_here
    return max(1, min(available_cores() // n_processes, MOST_THREADS))


def _count_ranks_here(world_size: int) -> int:
    """Return how many of the ranks run on this machine, as far as is known.

    ``torchrun`` and accelerate say it in LOCAL_WORLD_SIZE. Ranks that meet at this
    machine's loopback address are all here. Else a rank is taken to be alone, as in
    JAX, which has one process a machine.
    """
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    if told.isascii() and told.isdigit():
        return min(max(int(told), 1), world_size)
    if os.environ.get("MASTER_ADDR") in ("localhost", "127.0.0.1", "::1"):
        return world_size
    return 1
