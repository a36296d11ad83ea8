"""Suggests settings of a Loader from the layout of the data alone, without timing."""

from dataclasses import dataclass
from typing import Any

from .candidates import Candidate, list_candidates
from .sources import Source

__all__ = ["Suggestion", "loader_line", "needs_cache", "suggest"]


@dataclass(frozen=True)
class Suggestion:
    """Settings of a Loader, and what they give.

    Parameters
    ----------
    block_size, fetch_factor, batch_size
        The settings.
    memory
        Mean bytes that fetches take.
    entropy
        Predicted entropy of the label in a minibatch, as a share of that of cells drawn
        one by one; None without a label.
    cache
        Whether a cache would pay: X is compressed, and the source has none.
    line
        The lines to paste.
    """

    block_size: int
    fetch_factor: int
    batch_size: int
    memory: int
    entropy: float | None
    cache: bool
    line: str

    def __repr__(self) -> str:
        mixing = (
            "" if self.entropy is None else f", entropy {self.entropy:.1%} of random"
        )
        cache = (
            '\nX is compressed: open(..., cache="folder") decodes each chunk only once'
            if self.cache
            else ""
        )
        return f"{self.line}\n{self.memory / 1e6:,.0f} MB of fetches{mixing}{cache}"


def suggest(
    source: Source,
    *,
    memory: int | str | None = None,
    label: Any = None,
    min_entropy: float = 0.98,
    batch_size: int = 64,
) -> Suggestion:
    """Suggest block size and fetch factor from the layout alone, without timing.

    Of the settings that fit into memory and mix the label well, those are suggested
    that should cost least. :func:`scdataset_core.tools.tune` times them on your disk.

    Parameters
    ----------
    source
        The cells, as :func:`scdataset_core.open` gives them.
    memory
        Most bytes that fetches may take, or text such as ``"2GiB"``; 1 GiB by default.
    label
        Name of the obs column that minibatches must mix, such as the plate, or one
        label a cell. None: the fetch factor is at least the block size, so that most
        cells of a minibatch are of different blocks.
    min_entropy
        Least entropy of the label in a minibatch, as a share of what cells drawn one by
        one have, 0 to 1.
    batch_size
        Cells in a minibatch.

    Returns
    -------
    found
        The settings, what they give, and as ``found.line`` the lines to paste.

    Raises
    ------
    ValueError
        If nothing fits; the message says what comes nearest.
    TypeError
        If `source` is none.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad", obs=["plate"])
    >>> found = scd.suggest(source, memory="200MB", label="plate", batch_size=16)
    >>> found.entropy >= 0.98
    True
    """
    if not isinstance(source, Source):
        kind = type(source).__name__
        raise TypeError(f"suggest takes a source, got a {kind}; open() it first")
    best = list_candidates(
        source,
        memory=memory,
        label=label,
        min_entropy=min_entropy,
        batch_size=batch_size,
    )[0]
    return Suggestion(
        best.block_size,
        best.fetch_factor,
        best.batch_size,
        best.memory,
        best.entropy,
        needs_cache(source),
        loader_line(best),
    )


def needs_cache(source: Source) -> bool:
    """Return whether a cache would pay: X is compressed, and there is none."""
    return source.cache is None and any(
        array.grid is not None and array.grid.pipeline for array in source.x_arrays()
    )


def loader_line(settings: Candidate, threads: int | None = None) -> str:
    """Return the lines that make a Loader with some settings."""
    more = "" if threads is None else f", threads={threads}"
    return (
        f"strategy = scd.BlockShuffling(block_size={settings.block_size})\n"
        f"loader = scd.Loader(source, strategy, batch_size={settings.batch_size},"
        f" fetch_factor={settings.fetch_factor}{more})"
    )
