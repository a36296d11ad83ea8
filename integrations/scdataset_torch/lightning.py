"""LoaderDataModule gives Loaders to Lightning, which can resume within an epoch."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from scdataset_core import Loader
from scdataset_core.adapters import (
    check_loader,
    loaders_of_split,
    separate_options,
)
from scdataset_core.errors import MissingNameError, nearest
from scdataset_core.optional import naming_extra
from scdataset_core.splits import Split

from .dataset import LoaderDataset
from .misuse import check_dataloader_options
from .ranks import rank_and_world_size

with naming_extra(
    "lightning",
    extra="lightning",
    needed_by="The classes of scdataset_torch.lightning",
):
    from lightning import LightningDataModule

__all__ = ["LoaderDataModule", "ResumableDataLoader"]


class _StageDataset(LoaderDataset):
    """The dataset of one stage, whose epoch is set before each iteration.

    Parameters
    ----------
    loader, collate, evaluation
        As for :class:`LoaderDataset`.
    choose_epoch
        A function that sets the epoch of the dataset it is given. It is called in the
        main process before each iteration.
    """

    def __init__(
        self,
        loader: Loader,
        collate: Callable[[Any], Any] | None,
        *,
        evaluation: bool,
        choose_epoch: "Callable[[_StageDataset], None]",
    ) -> None:
        super().__init__(loader, collate, evaluation=evaluation)
        self.choose_epoch: Callable[[_StageDataset], None] | None = choose_epoch
        # The state of a checkpoint, until an iteration begins.
        self.checkpoint_state: dict[str, Any] | None = None

    def go_on(self, state: Mapping[str, Any]) -> Loader:
        """Load a state; `choose_epoch` decides whether an iteration goes on from it."""
        loader = super().go_on(state)
        self.checkpoint_state = loader.state_dict()
        return loader

    def __getstate__(self) -> dict[str, Any]:
        # Workers need nothing of the trainer, which `choose_epoch` refers to.
        return {**super().__getstate__(), "choose_epoch": None}


class ResumableDataLoader(DataLoader[Any]):
    """A ``DataLoader`` whose state is the same on every rank and fits any other number.

    It counts the batches that it has given, which says which batches are done, whatever
    the number of workers. So a training loop that saves the state of one rank only, as
    Lightning does, saves the state of all.

    Parameters
    ----------
    dataset
        The dataset to read from.
    **options
        Options of ``DataLoader``, except those that make batches.
    """

    def __init__(self, dataset: LoaderDataset, **options: Any) -> None:
        super().__init__(dataset, **{"batch_size": None, **options})

    def __iter__(self) -> Any:  # Any: DataLoader's own iterators have no public type
        """Start the next epoch, or go on where a loaded state stands.

        The epoch begins when the first batch is asked for: Lightning makes an iterator
        that it does not use when it goes on after the end of an epoch.
        """
        dataset = self._dataset
        if isinstance(dataset, _StageDataset) and dataset.choose_epoch is not None:
            dataset.choose_epoch(dataset)
        batches = super().__iter__()
        dataset.n_given = 0
        for batch in batches:
            dataset.n_given += 1
            yield batch

    @property
    def _dataset(self) -> LoaderDataset:
        assert isinstance(self.dataset, LoaderDataset)  # the constructor takes no other
        return self.dataset

    def state_dict(self) -> dict[str, Any]:
        """Return a merged state; see :meth:`LoaderDataset.state_after`."""
        return self._dataset.state_after(self._dataset.n_given, self.num_workers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on with the very next batch after a state."""
        self._dataset.go_on(state)


class LoaderDataModule(LightningDataModule):
    """A Lightning DataModule over Loaders for training, validation, test and so on.

    The module finds its rank when Lightning asks for the dataloaders, after Lightning
    has set up its processes. Training follows the trainer's epochs, so that it resumes
    from any checkpoint in the right order, on any number of ranks and workers: after a
    checkpoint at the end of an epoch with the next epoch, after one within an epoch
    with the very next batch. With `overfit_batches`, each epoch has the batches of
    epoch 0.

    Validation, test and prediction yield every row exactly once over all ranks, each
    time in the order of epoch 0. Ranks have equal numbers of batches: if another rank
    yields a minibatch too, its ``batch["index"]`` is −1 (see `evaluation` of
    :class:`scdataset_torch.LoaderDataset`).

    Parameters
    ----------
    train, val, test, predict
        The Loaders, not sharded. Or in place of all of them a split with parts of these
        names (:func:`scdataset_core.split`): the module makes the Loaders.
    strategy
        With a split, how cells are drawn for training; ``BlockShuffling()`` by default.
        The other parts are read in the order of the file.
    collate
        A function that is applied to each batch, such as ``to_tensors("dense")``.
    **options
        Options of ``DataLoader``: num_workers, pin_memory, persistent_workers, ... With
        a split also those of the Loaders: batch_size, fetch_factor, output, ...;
        ``drop_last`` is for training alone.

    Raises
    ------
    TypeError
        If an argument is not a Loader, or an option would make batches of batches; if a
        split and Loaders are given, or `strategy` without a split.
    MissingNameError
        If a part of a split is not called as one of the stages.

    Examples
    --------
    >>> import numpy as np
    >>> data = LoaderDataModule(train=Loader(np.arange(10), batch_size=4))
    >>> [len(batch) for batch in data.train_dataloader()]
    [4, 4, 2]

    >>> from scdataset_core import BlockShuffling, split
    >>> parts = split(np.arange(10), {"train": 0.8, "val": 0.2})
    >>> data = LoaderDataModule(parts, strategy=BlockShuffling(2), batch_size=4)
    >>> len(data.train_dataloader().dataset), len(data.val_dataloader().dataset)
    (2, 1)
    """

    def __init__(
        self,
        train: Loader | Split | None = None,
        val: Loader | None = None,
        test: Loader | None = None,
        predict: Loader | None = None,
        *,
        strategy: Any = None,  # Any: of the core, or the user's own
        collate: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {
            "train": train,
            "val": val,
            "test": test,
            "predict": predict,
        }
        if isinstance(train, Split):
            given, options = _open_split(given, strategy, options)
        elif strategy is not None:
            raise TypeError(
                "strategy goes with a split; a Loader has its own,"
                " Loader(source, strategy)"
            )
        for name, loader in given.items():
            if loader is not None:
                check_loader(loader, name)
        check_dataloader_options(options)
        self._loaders = given
        self._collate = collate
        self._options = options
        self._datasets: dict[str, _StageDataset] = {}
        # The trainer's epoch 0 is the epoch at which the Loader stands.
        training = given["train"]
        self._epoch_offset = 0 if training is None else training.next_epoch

    def _dataloader(self, name: str) -> Any:
        loader = self._loaders[name]
        if loader is None:
            return []
        return ResumableDataLoader(self._dataset(name, loader), **self._options)

    def _dataset(self, name: str, loader: Loader) -> _StageDataset:
        """Return a stage's dataset, made anew if rank or world size has changed."""
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
            choose_epoch=self._follow_trainer if training else _begin_epoch_0,
        )

    def _follow_trainer(self, dataset: _StageDataset) -> None:
        """Set the dataset to the trainer's epoch, or to where a checkpoint stands.

        Lightning loads the states of dataloaders in the middle of an epoch, and always
        if `max_steps` is given. It does so even if `limit_train_batches` had ended that
        epoch for the trainer; the trainer's count of batches tells whether the epoch
        goes on. A trainer that `max_steps` stopped counts the epoch as done, and from
        then on its epochs are ahead of the Loader's.
        """
        if self.trainer is None:
            return
        state, dataset.checkpoint_state = dataset.checkpoint_state, None
        goes_on = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready > 0
        # Lightning sets this attribute in a place where a type checker does not look.
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
        """Return the number that is added to the trainer's epochs, for a checkpoint."""
        return {"epoch_offset": self._epoch_offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count epochs as they were counted when the checkpoint was saved."""
        self._epoch_offset = int(state_dict["epoch_offset"])

    def __getstate__(self) -> dict[str, Any]:
        # The process that unpickles the module may have another rank.
        return {**vars(self), "_datasets": {}}

    def train_dataloader(self) -> Any:
        """Return the dataloader for training."""
        if self._loaders["train"] is None:
            raise ValueError(
                "there is no Loader for training; give LoaderDataModule(train=...)"
            )
        return self._dataloader("train")

    def val_dataloader(self) -> Any:
        """Return the dataloader for validation, or an empty list."""
        return self._dataloader("val")

    def test_dataloader(self) -> Any:
        """Return the dataloader for testing, or an empty list."""
        return self._dataloader("test")

    def predict_dataloader(self) -> Any:
        """Return the dataloader for prediction, or an empty list."""
        return self._dataloader("predict")


def _begin_epoch_0(dataset: _StageDataset) -> None:
    dataset.begin_epoch(0)


def _open_split(
    given: Mapping[str, Any], strategy: Any, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the Loaders of a split by stage, and the options of ``DataLoader``."""
    split = given["train"]
    for name in ("val", "test", "predict"):
        if given[name] is not None:
            raise TypeError(
                f"a split stands for all Loaders, and {name} is one; give the Loaders"
                " alone, or the split alone"
            )
    for name in split:
        if name not in given:
            raise MissingNameError(
                f'the split has a part "{name}", and the stages of Lightning are'
                f" {', '.join(given)}; {nearest(name, given)} Or give a Loader for"
                " each stage"
            )
    own, others = separate_options(options)
    loaders = loaders_of_split(split, strategy, own)
    return {name: loaders.get(name) for name in given}, others
