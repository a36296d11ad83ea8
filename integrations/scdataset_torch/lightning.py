"""A Lightning DataModule over Loaders: ranks, and resuming within an epoch."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from scdataset_core import Loader
from scdataset_core.adapters import check_loader
from scdataset_core.checks import install_command

from .dataset import LoaderDataset
from .misuse import check_dataloader_options
from .ranks import rank_and_world_size

try:
    from lightning import LightningDataModule
except ModuleNotFoundError as err:
    if err.name != "lightning":
        raise
    raise ModuleNotFoundError(
        "scdataset_torch.lightning needs Lightning; "
        f"install it with `{install_command('lightning')}`",
        name="lightning",
    ) from err

__all__ = ["LoaderDataModule", "ResumableDataLoader"]


class _StageDataset(LoaderDataset):
    """The data set of one stage, which asks before each iteration where to begin.

    Parameters
    ----------
    loader, collate, evaluation
        See :class:`LoaderDataset`.
    place
        Sets the data set's epoch, in the main process.
    """

    def __init__(
        self,
        loader: Loader,
        collate: Callable[[Any], Any] | None,
        *,
        evaluation: bool,
        place: "Callable[[_StageDataset], None]",
    ) -> None:
        super().__init__(loader, collate, evaluation=evaluation)
        self.place: Callable[[_StageDataset], None] | None = place
        self.resumed: dict[str, Any] | None = None  # a checkpoint's state, not begun

    def go_on(self, state: Mapping[str, Any]) -> Loader:
        """Load a state; the trainer decides what becomes of it."""
        loader = super().go_on(state)
        self.resumed = loader.state_dict()
        return loader

    def __getstate__(self) -> dict[str, Any]:
        # Workers get nothing of the trainer.
        return {**super().__getstate__(), "place": None}


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

    def __iter__(self) -> Any:  # Any: DataLoader's own iterators have no public type
        """Start the next epoch, or go on where a loaded state stands.

        That begins with the first batch: Lightning makes an iterator that it does not
        use where it goes on after the end of an epoch.
        """
        dataset = self._dataset
        if isinstance(dataset, _StageDataset) and dataset.place is not None:
            dataset.place(dataset)
        batches = super().__iter__()
        dataset.n_given = 0
        for batch in batches:
            dataset.n_given += 1
            yield batch

    @property
    def _dataset(self) -> LoaderDataset:
        assert isinstance(self.dataset, LoaderDataset)  # the constructor's type
        return self.dataset

    def state_dict(self) -> dict[str, Any]:
        """Return a merged state, see :meth:`LoaderDataset.state_after`."""
        return self._dataset.state_after(self._dataset.n_given, self.num_workers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, at the next iteration, with the very next batch after a state."""
        self._dataset.go_on(state)


class LoaderDataModule(LightningDataModule):
    """Loaders for training, validation, test and prediction, as a Lightning DataModule.

    Ranks are found when Lightning asks for the dataloaders, after it has set up its
    processes. Epochs of training are the trainer's, so that it resumes from any
    checkpoint in the right order: at the end of an epoch with the next one, in the
    middle with the very next batch, on any number of ranks and workers. With
    `overfit_batches` each epoch has the batches of epoch 0.

    Validation, test and prediction give every row exactly once over all ranks, in the
    order of epoch 0 each time. Ranks have equal numbers of batches: where a minibatch
    is another rank's too, its ``batch["index"]`` is −1 (see `evaluation` of
    :class:`scdataset_torch.LoaderDataset`).

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
            if loader is not None:
                check_loader(loader, name)
        check_dataloader_options(options)
        self._loaders = given
        self._collate = collate
        self._options = options
        self._datasets: dict[str, _StageDataset] = {}
        # Where the Loader stands is the trainer's epoch 0.
        self._epoch_offset = 0 if train is None else train.next_epoch

    def _dataloader(self, name: str) -> Any:
        loader = self._loaders[name]
        if loader is None:
            return []
        return ResumableDataLoader(self._dataset(name, loader), **self._options)

    def _dataset(self, name: str, loader: Loader) -> _StageDataset:
        """Return a stage's data set, the same one as long as the ranks are the same."""
        dataset = self._datasets.get(name)
        ranks = rank_and_world_size()
        if dataset is None or (dataset.rank, dataset.world_size) != ranks:
            dataset = self._make_dataset(loader, training=name == "train")
            self._datasets[name] = dataset
        return dataset

    def _make_dataset(self, loader: Loader, *, training: bool) -> _StageDataset:
        return _StageDataset(
            loader,
            self._collate,
            evaluation=not training,
            place=self._follow_trainer if training else _begin_epoch_0,
        )

    def _follow_trainer(self, dataset: _StageDataset) -> None:
        """Go to the trainer's epoch, or where in it a checkpoint's state stands.

        Lightning loads the states of dataloaders in the middle of an epoch, and always
        if `max_steps` is given: also where `limit_train_batches` has ended the epoch
        that the state is in the middle of. Whether the epoch goes on the count of
        batches tells. A trainer that `max_steps` stopped counts the epoch as done, and
        its own epochs are ahead of the data from there on.
        """
        if self.trainer is None:
            return
        state, dataset.resumed = dataset.resumed, None
        goes_on = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready > 0
        # Set by what reads the trainer's arguments, where a type checker does not look.
        if getattr(self.trainer, "overfit_batches", 0) > 0:
            epoch = 0
        elif state is None:
            epoch = self.trainer.current_epoch + self._epoch_offset
        else:
            epoch = state["epoch"]
            if state["done"] and not goes_on:
                epoch += 1
            self._epoch_offset = epoch - self.trainer.current_epoch
        if state is None or goes_on:
            dataset.set_epoch(epoch)
        else:
            dataset.begin_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return, for a checkpoint, what is added to the trainer's epochs."""
        return {"epoch_offset": self._epoch_offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting epochs as when the checkpoint was saved."""
        self._epoch_offset = int(state_dict["epoch_offset"])

    def __getstate__(self) -> dict[str, Any]:
        # Another process has another rank.
        return {**vars(self), "_datasets": {}}

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


def _begin_epoch_0(dataset: _StageDataset) -> None:
    dataset.begin_epoch(0)
