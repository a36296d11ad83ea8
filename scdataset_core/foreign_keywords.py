"""Hints for keywords that Loader and open do not have and other libraries do."""

from collections.abc import Iterable, Mapping

from .errors import nearest

__all__ = ["check_keywords"]

_ORDER = (
    "the strategy says the order: BlockShuffling(block_size=8), the default, shuffles,"
    " and Streaming() keeps the order of the files"
)
_DRAWS = "a strategy draws the cells: BlockWeightedSampling(weights=...), for one"
_STRATEGY = "it goes to the strategy, such as BlockShuffling"
_OPEN = "it goes to scdataset_core.open"
_TORCH = (
    "it goes to PyTorch's DataLoader(scdataset_torch.LoaderDataset(loader),"
    " batch_size=None, ...)"
)
_LOADER_HINTS = {
    "shuffle": _ORDER,
    **dict.fromkeys(("sampler", "batch_sampler", "weights", "labels"), _DRAWS),
    **dict.fromkeys(("block_size", "indices", "total_size", "replace"), _STRATEGY),
    **dict.fromkeys(("obs", "x", "genes", "join", "categories", "obs_names"), _OPEN),
    **dict.fromkeys(
        (
            "pin_memory",
            "persistent_workers",
            "multiprocessing_context",
            "worker_init_fn",
            "timeout",
        ),
        _TORCH,
    ),
    **dict.fromkeys(
        ("collate_fn", "collate", "transform"),
        "batch_transform changes a minibatch; scdataset_torch.to_tensors() makes"
        " tensors of it",
    ),
    **dict.fromkeys(
        ("prefetch_factor", "prefetch", "preload_nchunks"),
        "read_ahead is the number of fetches to read ahead, and fetch_factor the"
        " minibatches of a fetch",
    ),
    **dict.fromkeys(("generator", "random_state", "rng"), "give seed, an integer"),
    **dict.fromkeys(("epochs", "num_epochs"), "each iteration over it is one epoch"),
    "fetch_size": "fetch_factor is the minibatches of a fetch",
    "device": "scdataset_torch.to_device and scdataset_grain.device_prefetch move"
    " minibatches to a device",
}
_MATRIX = 'x="layers/NAME" reads a layer, x="raw/X" raw, and x="obsm/NAME" an embedding'
_LATER = "it goes to Loader, which takes the source that open returns"
_OPEN_HINTS = {
    **dict.fromkeys(("layer", "layers", "use_raw", "raw", "obsm"), _MATRIX),
    **dict.fromkeys(
        ("keys", "obs_keys", "obs_columns", "label", "labels"),
        "obs=[...] names the obs columns to carry",
    ),
    **dict.fromkeys(
        ("backed", "mode", "lazy"), "files are always read in place, and never changed"
    ),
    **dict.fromkeys(
        ("batch_size", "fetch_factor", "seed", "output", "dtype", "memory"),
        _LATER,
    ),
    **dict.fromkeys(("strategy", "shuffle", "block_size", "indices"), _LATER),
}
_HINTS = {"Loader": _LOADER_HINTS, "open": _OPEN_HINTS}


def check_keywords(
    unknown: Mapping[str, object], known: Iterable[str], *, of: str = "Loader"
) -> None:
    """Raise if there is an unknown keyword `of` a function.

    Raises
    ------
    TypeError
        It names the keyword, and what to give in its place.
    """
    for name in unknown:
        hint = _HINTS[of].get(name) or nearest(name, sorted(known), most=30)
        raise TypeError(f"{of} has no argument {name!r}: {hint}")
