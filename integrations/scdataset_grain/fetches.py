"""FetchDataset gives a Loader's fetches by number, for Grain to put in order."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import grain

from scdataset_core import Loader
from scdataset_core.adapters import check_loader, check_undivided

__all__ = ["FetchDataset", "SplitFetches"]


class FetchDataset(grain.MapDataset):  # type: ignore[misc]  # Grain is untyped
    """A dataset of the Loader's fetches, each of which is a list of its minibatches.

    Use it if Grain is to shuffle and divide the work. The minibatches of fetch `k` are
    the Loader's; Grain decides when fetch `k` is read, and which process reads it. A
    number beyond one epoch is a fetch of a later epoch, so that ``repeat`` gives new
    minibatches each time.

    Parameters
    ----------
    loader
        The Loader of all ranks and workers. Fetch 0 is the first of its next epoch.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If `loader` yields the share of one rank or worker only.

    Examples
    --------
    >>> import grain
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(8), scd.Streaming(), batch_size=2, fetch_factor=2)
    >>> fetches = FetchDataset(loader).shuffle(seed=1)
    >>> dataset = fetches.to_iter_dataset(
    ...     grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    ... ).apply(SplitFetches())
    >>> sorted(batch.tolist() for batch in dataset)
    [[0, 1], [2, 3], [4, 5], [6, 7]]
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        check_loader(loader)
        check_undivided(
            loader, "give one of all ranks and slice the dataset: ds[rank::world_size]"
        )
        self._loader = loader.fresh(loader.next_epoch)
        self._loader.read_ahead = 0  # Grain's threads read ahead

    def __len__(self) -> int:
        return -(-len(self._loader) // self._loader.fetch_factor)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Return the minibatches of a fetch, or the dataset of a slice of fetches."""
        if isinstance(index, slice):
            return self.slice(index)
        if not len(self):
            raise IndexError(
                "there is no fetch: an epoch of this loader has no minibatch; give a"
                f" smaller batch_size or drop_last=False ({self._loader!r})"
            )
        epochs, number = divmod(int(index), len(self))
        return self._stats.record_output_spec(self._read(epochs, number))

    def _read(self, epochs: int, number: int) -> list[Any]:
        """Return the minibatches of a fetch.

        A loader goes on from a state in which all other minibatches are done. It is a
        loader of its own for each call, since several threads of Grain read at once.
        """
        loader = self._loader.fresh(self._loader.epoch + epochs)
        first = number * loader.fetch_factor
        done = [[0, first], [first + loader.fetch_factor, len(loader)]]
        state = loader.state_dict()
        loader.load_state_dict({**state, "shard": None, "done": done})
        return list(loader)

    def __str__(self) -> str:
        return f"FetchDataset({len(self)} fetches)"


class SplitFetches(grain.experimental.FlatMapTransform):  # type: ignore[misc]  # untyped
    """A Grain transformation that splits the fetches of a `FetchDataset`.

    Call ``dataset.apply(SplitFetches())`` after the fetches have become an
    `IterDataset`; the result yields minibatches.
    """

    # The most that Grain advises. Grain only reads it for a MapDataset.
    max_fan_out = 100

    def flat_map(self, element: Sequence[Any]) -> Sequence[Any]:
        """Return the minibatches of a fetch."""
        return element
