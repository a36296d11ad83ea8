"""The behaviours that every adapter must keep, whatever the framework.

An adapter's tests subclass `AdapterContract` and say how the adapter is made over a
Loader; one that reads in the test's own process subclasses `InProcessContract`.
"""

import gc
import itertools
import json
import multiprocessing
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scdataset_core as scd

N_ROWS = 203
N_BATCHES = 51  # of an epoch
ROWS = np.arange(N_ROWS)
NOTHING_LEFT = "ignore:epoch . of this Loader has no minibatch"


class Running(Protocol):
    """An adapter that yields batches, epoch after epoch, and knows where it stands."""

    def __iter__(self) -> Iterator[Any]: ...

    def state(self) -> Any:
        """Return the state after the batch that was yielded last, which JSON keeps."""


def make_loader(n_rows: int = N_ROWS, **options: Any) -> scd.Loader:
    """Return a Loader over row numbers: what a batch holds says which rows it has."""
    given_: dict[str, Any] = {"strategy": scd.BlockShuffling(4), "batch_size": 4}
    given_ |= {"fetch_factor": 3, "seed": 7}
    return scd.Loader(np.arange(n_rows), **(given_ | options))


def plate_loader(plates: Path, **options: Any) -> scd.Loader:
    """Return a Loader over three plates of 400 cells, with labels."""
    source = scd.open(plates / "*.h5ad", obs=True)
    given_: dict[str, Any] = {"strategy": scd.BlockShuffling(8), "seed": 3}
    given_ |= {"batch_size": 64, "fetch_factor": 4}
    return scd.Loader(source, **(given_ | options))


def in_turn(loader: scd.Loader, n_workers: int, epoch: int) -> Iterator[Any]:
    """Yield a rank's batches as several workers give them: one of each in turn."""
    running = []
    for worker in range(max(1, n_workers)):
        shard = loader.shard(loader.rank, loader.world_size, worker, max(1, n_workers))
        shard.set_epoch(epoch)
        running.append(iter(shard))
    while running:
        for iterator in list(running):
            try:
                yield next(iterator)
            except StopIteration:
                running.remove(iterator)


def assert_same(ours: Any, theirs: Any) -> None:
    """Compare an adapter's batch with the Loader's, bit for bit.

    A framework may have made tensors of arrays.
    """
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            assert_same(ours[name], theirs[name])
    elif sp.issparse(theirs):
        assert type(ours) is type(theirs)
        assert ours.shape == theirs.shape
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(ours, part), getattr(theirs, part))
    else:
        array = np.asarray(ours)
        assert array.dtype == theirs.dtype
        np.testing.assert_array_equal(array, theirs)


def assert_all_same(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    """Compare as many batches as there are."""
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)


def as_lists(batches: Iterable[Any]) -> list[list[int]]:
    """Return the row numbers of each batch."""
    return [np.asarray(batch).tolist() for batch in batches]


def rows_of(batches: Iterable[list[int]]) -> list[int]:
    """Return the row numbers of all batches."""
    return list(itertools.chain.from_iterable(batches))


def reading_threads() -> list[threading.Thread]:
    """Return the threads of Loaders, not those of caches, which outlive them."""
    return [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


def fail_at_row_100(rows: Any) -> Any:
    """Raise for the rows of one fetch; a hook."""
    if 100 in rows:
        raise OSError("plate2.h5ad: row 100 is damaged")
    return rows


class AdapterContract:
    """The behaviours that every adapter keeps.

    Attributes
    ----------
    n_workers
        Worker processes that read, whose batches are taken in turn.
    same_order_on_resume
        Whether what is left of an epoch comes in the order it would have come in; else
        a resumed epoch is divided among the workers anew.
    takes_shards
        Whether a Loader that is one ``"rank"``, or one ``"worker"``, is read as it
        stands; any other is refused.
    """

    n_workers = 0
    same_order_on_resume = True
    takes_shards: tuple[str, ...] = ()

    def one_epoch(self, loader: Any) -> Iterable[Any]:
        """Return the adapter over a Loader: the batches of its next epoch."""
        raise NotImplementedError

    def run(self, loader: scd.Loader, state: Any = None) -> Running:
        """Return the adapter over a Loader, which goes on from a state."""
        raise NotImplementedError

    def merge(self, state: Any) -> dict[str, Any]:
        """Return the merged state of a Loader, of the state of the only rank."""
        return scd.merge_states([state])

    def of_rank(
        self,
        loader: scd.Loader,
        rank: int,
        world_size: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> scd.Loader:
        """Return what to give to the adapter in the process of a rank."""
        return loader.shard(rank, world_size)

    def expected(self, loader: scd.Loader, epoch: int) -> list[Any]:
        """Return an epoch's batches as the Loader has them."""
        return list(in_turn(loader, self.n_workers, epoch))

    def test_batches_are_the_loaders_bit_for_bit(self) -> None:
        assert_all_same(self.one_epoch(make_loader()), self.expected(make_loader(), 0))

    @pytest.mark.parametrize("output", ["csr", "dense", "padded"])
    def test_batches_of_files_are_the_loaders(self, plates: Path, output: str) -> None:
        loader = plate_loader(plates, output=output)
        assert_all_same(
            self.one_epoch(plate_loader(plates, output=output)),
            self.expected(loader, 0),
        )

    @pytest.mark.parametrize(
        "short", [pytest.param("resample", marks=pytest.mark.slow), "keep"]
    )
    def test_sets_and_their_controls_are_the_loaders(
        self, plates: Path, short: str
    ) -> None:
        sets = scd.GroupSampling(
            ["cell_line", "drug"],
            32,
            control={"drug": "DMSO"},
            match=["cell_line", "plate"],
            short=short,
        )
        output = "padded" if short == "keep" else None
        options = {"strategy": sets, "fetch_factor": 2, "output": output}
        batches = list(self.one_epoch(plate_loader(plates, **options)))
        assert_all_same(batches, self.expected(plate_loader(plates, **options), 0))
        assert all({"group", "control"} <= set(batch) for batch in batches)

    def test_every_epoch_is_a_new_order_of_all_rows(self) -> None:
        running = iter(self.run(make_loader()))
        epochs = [as_lists(itertools.islice(running, N_BATCHES)) for _ in range(3)]
        for number, epoch in enumerate(epochs):
            assert epoch == as_lists(self.expected(make_loader(), number))
            assert sorted(rows_of(epoch)) == ROWS.tolist()
        assert len({tuple(map(tuple, epoch)) for epoch in epochs}) == 3

    def test_the_first_epoch_is_the_loaders_next(self) -> None:
        loader = make_loader()
        loader.set_epoch(2)
        assert_all_same(self.one_epoch(loader), self.expected(make_loader(), 2))

    @pytest.mark.parametrize("uneven", ["trim", "pad"])
    def test_ranks_give_every_row_once(
        self, uneven: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows, lengths = [], set()
        for rank in range(3):
            loader = self.of_rank(make_loader(uneven=uneven), rank, 3, monkeypatch)
            batches = as_lists(self.one_epoch(loader))
            monkeypatch.undo()
            share = make_loader(uneven=uneven).shard(rank, 3)
            assert batches == as_lists(self.expected(share, 0))
            rows += rows_of(batches)
            lengths.add(len(batches))
        assert lengths == {N_BATCHES // 3}
        assert sorted(rows) == ROWS.tolist()

    @pytest.mark.parametrize("n_taken", [0, 1, 16, N_BATCHES - 1, N_BATCHES, 60])
    def test_goes_on_with_the_very_next_batch(self, n_taken: int) -> None:
        running = self.run(make_loader())
        batches = iter(running)
        seen = as_lists(itertools.islice(batches, n_taken))
        state = json.loads(json.dumps(running.state()))
        resumed = iter(self.run(make_loader(), state))
        seen += as_lists(itertools.islice(resumed, 2 * N_BATCHES - n_taken))
        for number in range(2):
            epoch = seen[number * N_BATCHES : (number + 1) * N_BATCHES]
            own = as_lists(self.expected(make_loader(), number))
            if self.same_order_on_resume:
                assert epoch == own
            assert sorted(epoch) == sorted(own)

    @pytest.mark.parametrize("n_taken", [7, N_BATCHES])
    def test_goes_on_over_other_ranks(
        self, n_taken: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = self.run(make_loader(uneven="pad"))
        seen = as_lists(itertools.islice(iter(running), n_taken))
        state = self.merge(running.state())
        shares = []
        for rank in range(2):
            loader = make_loader(uneven="pad")
            loader.load_state_dict(state)
            loader = self.of_rank(loader, rank, 2, monkeypatch)
            shares.append(as_lists(self.one_epoch(loader)))
            monkeypatch.undo()
        assert len(shares[0]) == len(shares[1])
        rest = set(rows_of(shares[0] + shares[1]))
        if n_taken == N_BATCHES:  # the next epoch
            assert rest == set(range(N_ROWS))
        else:
            assert rest == set(range(N_ROWS)) - set(rows_of(seen))

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            pytest.param({"n_rows": 210}, "another data set", id="data"),
            pytest.param({"seed": 4}, "another seed", id="seed"),
            pytest.param(
                {"strategy": scd.Streaming()}, "another strategy", id="strategy"
            ),
        ],
    )
    def test_a_state_of_something_else_is_refused(
        self, other: dict[str, Any], words: str
    ) -> None:
        state = self.run(make_loader()).state()
        with pytest.raises(scd.StateError, match=words):
            self.run(make_loader(**other), state)

    @pytest.mark.parametrize("hook", ["fetch_transform", "batch_transform"])
    def test_an_error_surfaces_with_its_message(self, hook: str) -> None:
        loader = make_loader(**{hook: fail_at_row_100})
        with pytest.raises(OSError, match=r"plate2\.h5ad: row 100 is damaged"):
            list(self.one_epoch(loader))

    def test_what_is_no_loader_is_refused(self) -> None:
        with pytest.raises(TypeError, match="Loader, got ndarray"):
            self.one_epoch(ROWS)

    @pytest.mark.parametrize("kind", ["rank", "worker"])
    def test_a_sharded_loader_is_refused_or_read_as_it_stands(self, kind: str) -> None:
        count = {"rank": "world_size", "worker": "num_workers"}[kind]
        shard = make_loader().shard(**{kind: 1, count: 2})
        if kind in self.takes_shards:
            assert_all_same(
                self.one_epoch(shard), list(shard.shard(**{kind: 1, count: 2}))
            )
            return
        with pytest.raises(ValueError, match=f"{kind} 1 of 2"):
            self.one_epoch(shard)

    @pytest.mark.parametrize("how", ["finished", "left", "failed"])
    def test_threads_and_processes_end(self, how: str) -> None:
        before = {*reading_threads(), *multiprocessing.active_children()}
        hook = fail_at_row_100 if how == "failed" else None
        batches = iter(self.one_epoch(make_loader(fetch_transform=hook)))
        next(batches)
        if how == "finished":
            assert len(list(batches)) == N_BATCHES - 1
        elif how == "failed":
            with pytest.raises(OSError, match="row 100 is damaged"):
                list(batches)
        del batches
        gc.collect()
        for process in set(multiprocessing.active_children()) - before:
            process.join(60)  # it was told to end, and does so on a busy machine too
        after = {*reading_threads(), *multiprocessing.active_children()}
        assert after <= before


class InProcessContract(AdapterContract):
    """More behaviours, of adapters that read in the consumer's process."""

    @pytest.mark.filterwarnings(NOTHING_LEFT)
    @settings(
        max_examples=30,
        suppress_health_check=[HealthCheck.differing_executors],
    )
    @given(
        n_rows=st.integers(1, 300),
        batch_size=st.integers(1, 40),
        fetch_factor=st.integers(1, 5),
        seed=st.integers(0, 2**63),
        epoch=st.integers(0, 3),
        world_size=st.integers(1, 3),
        rank=st.integers(0, 2),
        uneven=st.sampled_from(["trim", "pad"]),
        drop_last=st.booleans(),
    )
    def test_batches_are_the_loaders_in_any_setting(
        self, epoch: int, rank: int, world_size: int, **options: Any
    ) -> None:
        loader = make_loader(read_ahead=0, **options)
        loader.set_epoch(epoch)
        rank %= world_size
        share = make_loader(read_ahead=0, **options).shard(rank, world_size)
        with pytest.MonkeyPatch.context() as patch:
            given_ = self.of_rank(loader, rank, world_size, patch)
            batches = list(self.one_epoch(given_))
        assert_all_same(batches, self.expected(share, epoch))

    def test_threads_run_only_while_batches_are_wanted(self) -> None:
        before = reading_threads()
        batches = iter(self.one_epoch(make_loader()))
        next(batches)
        assert len(reading_threads()) > len(before)
        del batches
        gc.collect()
        assert reading_threads() == before
