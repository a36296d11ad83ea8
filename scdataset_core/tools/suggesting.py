"""Suggests settings for files, as plain data."""

from dataclasses import asdict
from typing import Any

from ..suggestion import suggest as suggest_for_source
from .arguments import StorageOptions, open_labelled

__all__ = ["suggest"]


def suggest(
    data: Any,
    *,
    memory: int | str | None = None,
    label: Any = None,
    min_entropy: float = 0.98,
    batch_size: int = 64,
    x: str = "X",
    storage_options: StorageOptions = None,
) -> dict[str, Any]:
    """Suggest block size and fetch factor from the layout of files alone.

    Parameters
    ----------
    data
        Files, as :func:`scdataset_core.open` takes them, or an open source.
    memory, label, min_entropy, batch_size
        What settings must keep to, see :func:`scdataset_core.suggest`.
    x
        Which matrix is to be read.
    storage_options
        For URLs, as `open` takes them.

    Returns
    -------
    report
        Plain data: ``block_size``, ``fetch_factor``, ``batch_size``; ``memory``, the
        bytes that fetches take; ``entropy`` of the label, predicted, as a share of that
        of cells drawn one by one, None without a label; ``cache``, whether a cache
        would pay; and ``line``, what to paste.

    Raises
    ------
    ValueError
        If nothing fits; the message says what comes nearest.
    """
    source = open_labelled(data, label, x=x, storage_options=storage_options)
    found = suggest_for_source(
        source,
        memory=memory,
        label=label,
        min_entropy=min_entropy,
        batch_size=batch_size,
    )
    return asdict(found)
