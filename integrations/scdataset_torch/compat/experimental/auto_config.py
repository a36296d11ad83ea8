"""Suggest settings by the rule of thumb of `scdataset` 0.3, from the free memory.

The command ``scdataset tune`` measures instead.
"""

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["estimate_sample_size", "suggest_parameters"]

_GIB = 1024**3
_MIB = 1024**2


def estimate_sample_size(
    data_collection: Any,
    n_samples: int = 16,
    fetch_callback: Callable[..., Any] | None = None,
    fetch_transform: Callable[[Any], Any] | None = None,
    batch_callback: Callable[..., Any] | None = None,
    batch_transform: Callable[[Any], Any] | None = None,
) -> int:
    """Return how many bytes a row takes in memory, on average over the first rows.

    Parameters
    ----------
    data_collection
        The collection.
    n_samples
        Number of rows to measure.
    fetch_callback, fetch_transform, batch_callback, batch_transform
        The hooks that `scDataset` will be given. They are applied to one row at a time.

    Examples
    --------
    >>> estimate_sample_size(np.zeros((10, 100)))
    800
    """
    sizes = []
    for row in range(min(n_samples, len(data_collection))):
        if fetch_callback is not None:
            sample = fetch_callback(data_collection, [row])
        elif hasattr(data_collection, "_indexables"):  # [row] is one of its collections
            sample = data_collection[[row]]
        else:
            sample = data_collection[row]
        if fetch_transform is not None:
            sample = fetch_transform(sample)
        if batch_callback is not None:
            sample = batch_callback(sample, [0])
        if batch_transform is not None:
            sample = batch_transform(sample)
        sizes.append(_deep_sizeof(sample))
    return int(np.mean(sizes)) if sizes else 0


def _deep_sizeof(thing: Any, seen: set[int] | None = None) -> int:
    """Return the bytes of any object; a part that is shared counts once."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    framed = hasattr(thing, "columns") or hasattr(thing, "index")
    if hasattr(thing, "memory_usage") and framed:  # a DataFrame or Series of pandas
        return int(np.sum(thing.memory_usage(deep=True)))
    if hasattr(thing, "element_size") and hasattr(thing, "numel"):
        return int(thing.element_size() * thing.numel())
    if hasattr(thing, "nbytes") and hasattr(thing, "dtype") and hasattr(thing, "shape"):
        return int(thing.nbytes)
    if hasattr(thing, "data") and hasattr(thing, "indices"):
        parts = (thing.data, thing.indices, getattr(thing, "indptr", None))
        return sum(int(part.nbytes) for part in parts if part is not None)
    if isinstance(thing, str):
        return len(thing.encode("utf-8"))
    if isinstance(thing, bytes):
        return len(thing)
    contents = _list_parts(thing)
    if contents is None:
        return sys.getsizeof(thing)
    # Python knows the size of these containers themselves, without their parts.
    own = sys.getsizeof(thing) if isinstance(thing, dict | list | tuple) else 0
    return own + sum(_deep_sizeof(part, seen) for part in contents)


def _list_parts(thing: Any) -> list[Any] | None:
    """Return the parts of a container, or None if `thing` is not a container."""
    if hasattr(thing, "adatas"):  # an AnnCollection
        names = ("obs", "var", "obs_names", "var_names")
        return _get_filled(thing, names) + list(thing.adatas)
    if hasattr(thing, "X") and hasattr(thing, "obs") and hasattr(thing, "var_names"):
        # An object that only looks like an AnnData may lack these, or have None.
        matrices = [
            m
            for held in _get_filled(thing, ("obsm", "layers"))
            for m in _list_values(held)
        ]
        return [*_get_filled(thing, ("X", "obs", "var")), *matrices]
    if hasattr(thing, "_indexables"):
        return [*thing._indexables, *_get_filled(thing, ("unstructured",))]
    if isinstance(thing, Mapping):
        return [*thing.keys(), *thing.values()]
    return list(thing) if isinstance(thing, list | tuple) else None


def _get_filled(thing: Any, names: Sequence[str]) -> list[Any]:
    """Return the values of the attributes that exist and are not empty."""
    found = [getattr(thing, name, None) for name in names]
    return [part for part in found if part is not None and not _is_empty_dict(part)]


def _list_values(matrices: Any) -> list[Any]:
    return [matrices[name] for name in matrices.keys()]  # noqa: SIM118  as 0.3 asks


def _is_empty_dict(part: Any) -> bool:
    return isinstance(part, dict) and not part


def suggest_parameters(
    data_collection: Any,
    batch_size: int,
    target_ram_fraction: float = 0.20,
    max_workers: int = 16,
    min_workers: int = 1,
    verbose: bool = True,
    fetch_callback: Callable[..., Any] | None = None,
    fetch_transform: Callable[[Any], Any] | None = None,
    batch_callback: Callable[..., Any] | None = None,
    batch_transform: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Suggest a number of workers, a fetch factor and block sizes that fit into memory.

    Parameters
    ----------
    data_collection
        The collection.
    batch_size
        Number of rows of a minibatch.
    target_ram_fraction
        Share of the free memory that the fetches of all workers may take.
    max_workers, min_workers
        Largest and smallest number of workers to suggest.
    verbose
        Print the suggestions.
    fetch_callback, fetch_transform, batch_callback, batch_transform
        The hooks that `scDataset` will be given.

    Returns
    -------
    parameters
        A dict of ``num_workers``, ``fetch_factor``, ``prefetch_factor``, three block
        sizes (``block_size_conservative``, ``_balanced``, ``_aggressive``), the memory
        that they take in MB, and the ``system_info`` on which they are based.
    """
    info = _system_info()
    free_gib = info["available_ram_gb"] if info["measured"] else 8.0
    num_workers = min(max(info["cpu_count"] // 2, min_workers), max_workers)
    sample_bytes = estimate_sample_size(
        data_collection,
        fetch_callback=fetch_callback,
        fetch_transform=fetch_transform,
        batch_callback=batch_callback,
        batch_transform=batch_transform,
    )
    info["estimated_sample_size_bytes"] = sample_bytes
    # The factor is 2 because a fetch is in use while the next one is read.
    fetched_bytes = 2 * batch_size * num_workers * sample_bytes
    fetch_factor = 8
    if fetched_bytes > 0:
        within = int(target_ram_fraction * free_gib * _GIB / fetched_bytes)
        fetch_factor = max(1, min(within, 256))
    del info["measured"]
    result = {
        "num_workers": num_workers,
        "fetch_factor": fetch_factor,
        "block_size_conservative": max(1, fetch_factor // 2),
        "block_size_balanced": max(1, fetch_factor),
        "block_size_aggressive": max(1, fetch_factor * 2),
        "prefetch_factor": fetch_factor + 1,
        "estimated_memory_per_fetch_mb": batch_size
        * fetch_factor
        * sample_bytes
        / _MIB,
        "estimated_total_memory_mb": fetch_factor * fetched_bytes / _MIB,
        "system_info": info,
    }
    if verbose:
        lines = [f"{name}: {value}" for name, value in result.items()]
        sys.stdout.write("\n".join(["Suggested parameters", *lines]) + "\n")
    return result


def _system_info() -> dict[str, Any]:
    try:
        import psutil
    except ImportError:
        warnings.warn(
            "psutil not installed: free memory is taken to be 8 GiB; install it with"
            " `pip install psutil`",
            UserWarning,
            stacklevel=3,
        )
        unknown = "unknown (psutil not installed)"
        sizes = dict.fromkeys(("available_ram_gb", "total_ram_gb"), unknown)
        return {**sizes, "cpu_count": 4, "measured": False}
    memory = psutil.virtual_memory()
    return {
        "available_ram_gb": memory.available / _GIB,
        "total_ram_gb": memory.total / _GIB,
        "cpu_count": os.cpu_count() or 4,
        "measured": True,
    }
