"""The counter of epochs that worker processes share."""

import pickle
import threading

import pytest

pytest.importorskip("scdataset_torch")

from scdataset_torch import epoch_counter
from scdataset_torch.epoch_counter import EpochCounter, Iteration, Start


def join(counter, seed, worker, num_workers=3, ordinal=1, at=None):
    return counter.begin(Iteration(seed, ordinal, worker, num_workers), at=at)


def test_all_workers_of_an_iteration_get_one_epoch():
    counter = EpochCounter(4)
    assert [join(counter, 1, worker) for worker in (2, 0, 1)] == [Start(4, True)] * 3
    assert [join(counter, 2, worker) for worker in (0, 1, 2)] == [Start(5, False)] * 3
    assert counter.epoch == 5


def test_a_late_worker_joins_the_iteration_it_was_started_for():
    counter = EpochCounter(0)
    join(counter, 1, 0)
    join(counter, 2, 0)
    assert join(counter, 1, 1) == Start(0, True)
    assert join(counter, 2, 2) == Start(1, False)


def test_persistent_workers_count_their_iterations():
    counter = EpochCounter(0)
    epochs = [
        join(counter, 1, worker, 2, ordinal).epoch
        for ordinal in (1, 2, 3)
        for worker in (0, 1)
    ]
    assert epochs == [0, 0, 1, 1, 2, 2]


def test_a_seed_that_comes_again_is_another_iteration():
    counter = EpochCounter(0)
    epochs = [join(counter, 1, worker, 2).epoch for worker in (0, 1, 0, 1, 1, 0)]
    assert epochs == [0, 0, 1, 1, 2, 2]


def test_states_loaded_in_workers_set_the_epoch():
    counter = EpochCounter(0)
    assert [join(counter, 1, worker, 2, at=7).epoch for worker in (0, 1)] == [7, 7]
    assert counter.latest is None
    assert join(counter, 2, 0, 2) == Start(8, False)


def test_many_iterations_and_many_workers():
    counter = EpochCounter(0)
    for epoch in range(100):
        starts = {join(counter, epoch, worker, 200).epoch for worker in range(200)}
        assert starts == {epoch}


def test_set_and_load():
    counter = EpochCounter(0)
    assert counter.pending
    assert counter.latest == Start(0, True)
    assert counter.begin(None) == Start(0, True)
    counter.set(5, resumes=False)
    assert not counter.pending
    assert counter.begin(None) == Start(5, False)
    counter.load(2)
    assert counter.epoch == 2
    assert counter.begin(None) == Start(2, True)


@pytest.mark.parametrize(
    "use",
    [
        lambda counter: join(counter, 1, 0),
        lambda counter: counter.epoch,
        lambda counter: counter.next_epoch,
        lambda counter: counter.pending,
        lambda counter: counter.latest,
        lambda counter: counter.load(3),
        pickle.dumps,
    ],
)
def test_a_worker_that_was_killed_while_it_counted_is_no_hang(use, monkeypatch):
    monkeypatch.setattr(epoch_counter, "_LONGEST_S", 0.01)
    counter = EpochCounter(0)
    lock = counter._cells.get_lock()
    thread = threading.Thread(target=lock.acquire)  # it is not released
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match=r"killed.*make the LoaderDataset"):
        use(counter)
