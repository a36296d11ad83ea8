"""Fit a Keras model through a PyDataset over `loader.batch`, and count what it saw.

Run by `test_keras.py` in a process of its own, since Keras fixes its backend at import.
Prints one line of JSON for each setting.
"""

import itertools
import json
import os
from typing import Any

import keras
import numpy as np

import scdataset_core as scd

N_ROWS, BATCH_SIZE = 1_000, 16
ROWS = np.arange(N_ROWS, dtype=np.float32)[:, None]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """What `docs/generators.md` prints."""

    def __init__(self, loader: scd.Loader, **options: Any) -> None:
        super().__init__(**options)
        self.loader, self.epoch = loader, loader.next_epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __getitem__(self, index: int) -> Any:
        return self.loader.batch(index, epoch=self.epoch)

    def on_epoch_end(self) -> None:
        self.epoch += 1


class Recorder(keras.Sequential):  # type: ignore[misc]  # Keras is untyped
    """A model that remembers what it was given to train on."""

    def train_step(self, *args: Any) -> Any:
        """Remember the rows; gradients would take most of the time, and show nothing.

        JAX alone gives a state before the data, and wants it back.
        """
        *state, data = args
        self.seen.append(np.asarray(data[0]).ravel().astype(int).tolist())
        return ({}, *state) if state else {}


def seen_rows(shuffle: bool, workers: int, processes: bool) -> dict[str, Any]:
    loader = scd.Loader(
        ROWS,
        scd.BlockShuffling(8),
        batch_size=BATCH_SIZE,
        fetch_factor=4,
        batch_transform=lambda rows: (rows, rows),
    )
    options = {"workers": workers, "use_multiprocessing": processes}
    data = Batches(loader, **options, max_queue_size=4)
    scale = keras.layers.Rescaling(1 / N_ROWS)
    model = Recorder([keras.Input((1,)), scale, keras.layers.Dense(1)])
    model.seen = []
    model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
    model.test_on_batch(*loader.batch(0))  # else fit takes a look of its own
    model.fit(data, epochs=2, shuffle=shuffle, verbose=0)
    n = len(loader)
    epochs = [model.seen[:n], model.seen[n:]]
    in_order = [
        epoch
        == [
            loader.batch(k, epoch=data.epoch - 2 + e)[0].ravel().tolist()
            for k in range(n)
        ]
        for e, epoch in enumerate(epochs)
    ]
    return {
        "setting": [shuffle, workers, processes],
        "batches": [len(epoch) for epoch in epochs],
        "once": [
            sorted(itertools.chain(*epoch)) == list(range(N_ROWS)) for epoch in epochs
        ],
        "in_order": in_order,
        "next_epoch": data.epoch,
        "same": sorted(map(sorted, epochs[0])) == sorted(map(sorted, epochs[1])),
    }


if __name__ == "__main__":
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
    for shuffle in (False, True):
        for workers, processes in ((1, False), (2, False), (2, True)):
            print(json.dumps(seen_rows(shuffle, workers, processes)), flush=True)  # noqa: T201  its result
