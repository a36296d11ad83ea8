"""A Lightning DataModule over Loaders: ranks, and resuming within an epoch."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from scdataset_core import Loader

from .dataset import LoaderDataset

try:
    from lightning import LightningDataModule
except ModuleNotFoundError as err:
    if err.name != "lightning":
        raise
    raise ModuleNotFoundError(
        "scdataset_torch.lightning needs Lightning; "
        "install it with `pip install 'scdataset-core[lightning]'`",
        name="lightning",
    ) from err

__all__ = ["LoaderDataModule", "ResumableDataLoader"]


class ResumableDataLoader(DataLoader[Any]):
    """A ``DataLoader`` whose state is the same on every rank, for any number of them.

    It counts the batches it has given; with any number of workers that says which
    batches are done. A training loop that saves the state of one rank only, as
    Lightning does, so saves that of all.

    Parameters
    ----------
    dataset
        The dataset.
    **options
        Of ``DataLoader``, without those that make batches.
    """

    def __init__(self, dataset: LoaderDataset, **options: Any) -> None:
        super().__init__(dataset, **{"batch_size": None, **options})
        self._n_given = 0

    def __iter__(self) -> Any:  # Any: DataLoader's own iterators have no public type
        """Start the next epoch, or go on where a loaded state stands.

        That begins with the first batch: Lightning makes an iterator that it does not
        use where it goes on after the end of an epoch.
        """
        batches = super().__iter__()
        self._n_given = 0
        for batch in batches:
            self._n_given += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return a merged state, see :meth:`LoaderDataset.state_after`."""
        assert isinstance(self.dataset, LoaderDataset)  # the constructor's type
        return self.dataset.state_after(self._n_given, self.num_workers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, at the next iteration, with the very next batch after a state."""
        assert isinstance(self.dataset, LoaderDataset)  # the constructor's type
        self.dataset.go_on(state)


class LoaderDataModule(LightningDataModule):
    """Loaders for training, validation, test and prediction, as a Lightning DataModule.

    Ranks are found when Lightning asks for the dataloaders, after it has set up its
    processes. A checkpoint in the middle of an epoch goes on with the very next batch,
    on any number of ranks and workers.

    Parameters
    ----------
    train, val, test, predict
        The Loaders, not sharded.
    collate
        What to make of each batch, such as ``to_tensors("dense")``.
    **options
        Of ``DataLoader``: num_workers, pin_memory, persistent_workers, ...

    Raises
    ------
    TypeError
        If one is no Loader, or an option would make batches of batches.

    Examples
    --------
    >>> import numpy as np
    >>> data = LoaderDataModule(train=Loader(np.arange(10), batch_size=4))
    >>> [len(batch) for batch in data.train_dataloader()]
    [4, 4, 2]
    """

    def __init__(
        self,
        train: Loader | None = None,
        val: Loader | None = None,
        test: Loader | None = None,
        predict: Loader | None = None,
        *,
        collate: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        given = {"train": train, "val": val, "test": test, "predict": predict}
        for name, loader in given.items():
            if loader is not None and not isinstance(loader, Loader):
                raise TypeError(
                    f"{name} must be a scdataset_core.Loader, got"
                    f" {type(loader).__name__}"
                )
        taken = {"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
        for name in sorted(taken & set(options)):
            raise TypeError(f"{name} is the Loader's to decide; give it to the Loader")
        self._loaders = given
        self._collate = collate
        self._options = options

    def _dataloader(self, name: str) -> Any:
        loader = self._loaders[name]
        if loader is None:
            return []
        return ResumableDataLoader(
            LoaderDataset(loader, self._collate), **self._options
        )

    def train_dataloader(self) -> Any:
        """Return the dataloader for training."""
        if self._loaders["train"] is None:
            raise ValueError(
                "there is no Loader for training; give LoaderDataModule(train=...)"
            )
        return self._dataloader("train")

    def val_dataloader(self) -> Any:
        """Return the dataloader for validation, or no dataloaders."""
        return self._dataloader("val")

    def test_dataloader(self) -> Any:
        """Return the dataloader for testing, or no dataloaders."""
        return self._dataloader("test")

    def predict_dataloader(self) -> Any:
        """Return the dataloader for prediction, or no dataloaders."""
        return self._dataloader("predict")
