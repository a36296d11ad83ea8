"""FetchDataset: a Loader's fetches as a `grain.MapDataset`, for Grain's own order."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import grain

from scdataset_core import Loader
from scdataset_core.adapters import check_loader, check_undivided

__all__ = ["FetchDataset", "SplitFetches"]


class FetchDataset(grain.MapDataset):  # type: ignore[misc]  # Grain is untyped
    """The fetches of a Loader by number, each a list of its minibatches.

    For pipelines in which Grain shuffles and divides the work: the minibatches of fetch
    `k` are those of the Loader, and Grain decides when and by whom fetch `k` is read.
    Numbers beyond one epoch are those of the epochs after it, so that ``repeat`` gives
    new minibatches each time.

    Parameters
    ----------
    loader
        Whose fetches, from ``loader.epoch`` on; of all ranks and workers.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If `loader` is of one rank or worker: here Grain divides.

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
        """Return the minibatches of a fetch, or the dataset of a slice of them."""
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
        """Go on from a state in which all minibatches but those of the fetch are done.

        Several of Grain's threads read at once, each with a loader of its own.
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
    """Grain transformation from the fetches of a `FetchDataset` to minibatches.

    ``dataset.apply(SplitFetches())``, after the fetches have become an `IterDataset`.
    """

    max_fan_out = 100  # what Grain advises at most; it is read for a MapDataset alone

    def flat_map(self, element: Sequence[Any]) -> Sequence[Any]:
        """Return the minibatches of a fetch."""
        return element
