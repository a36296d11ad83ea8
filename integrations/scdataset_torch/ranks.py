"""Find the rank of this process, in torch.distributed or in the environment."""

import os

import torch.distributed as dist

__all__ = ["rank_and_world_size"]


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the number of ranks.

    Raises
    ------
    ValueError
        If only one of the environment variables RANK and WORLD_SIZE is set, or one is
        not a number.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if given["RANK"] is None and given["WORLD_SIZE"] is None:
        return 0, 1
    try:
        return int(given["RANK"] or ""), int(given["WORLD_SIZE"] or "")
    except ValueError as error:
        raise ValueError(
            f"RANK={given['RANK']} and WORLD_SIZE={given['WORLD_SIZE']} in the"
            " environment must both be numbers; set both, or neither, or call"
            " torch.distributed.init_process_group first"
        ) from error
