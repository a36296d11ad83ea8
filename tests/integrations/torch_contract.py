"""The contract of adapters for what gives batches through a PyTorch `DataLoader`."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scdataset_torch import LoaderDataset
from torch.utils.data import DataLoader

import scdataset_core as scd
from tests.integrations.contract import AdapterContract, Running


class CountedBatches:
    """A plain `DataLoader`, epoch after epoch, with the batches of each counted."""

    def __init__(self, dataset: LoaderDataset, batches: Any) -> None:
        self.dataset = dataset
        self.batches = batches
        self.n_given = 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.n_given = 0
            for batch in self.batches:
                self.n_given += 1
                yield batch

    def state(self) -> dict[str, Any]:
        """Return the state that the count gives."""
        return self.dataset.state_after(self.n_given, self.batches.num_workers)


class DataLoaderContract(AdapterContract):
    """Ranks come from the environment, and states are merged ones."""

    @pytest.fixture(autouse=True)
    def _soon_after_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # After an error PyTorch waits this long for each worker to end.
        monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)

    def batches_of(self, dataset: LoaderDataset) -> Any:
        """Return the `DataLoader` over a data set."""
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.n_workers,
            multiprocessing_context="fork" if self.n_workers else None,
        )

    def one_epoch(self, loader: Any) -> Any:
        return self.batches_of(LoaderDataset(loader))

    def run(self, loader: scd.Loader, state: Any = None) -> Running:
        if state is not None:
            loader.load_state_dict(state)
        dataset = LoaderDataset(loader)
        return CountedBatches(dataset, self.batches_of(dataset))

    def merge(self, state: Any) -> dict[str, Any]:
        return dict(state)

    def of_rank(
        self,
        loader: scd.Loader,
        rank: int,
        world_size: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> scd.Loader:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world_size))
        return loader
