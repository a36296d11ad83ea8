"""Generators give what the Loader gives, end cleanly, and feed common consumers."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scdataset_generators import batches, cells, forever

import scdataset_core as scd
from tests.integrations.contract import InProcessContract, Running

N_ROWS = 1200
TABLE = np.arange(N_ROWS * 3, dtype=np.float32).reshape(N_ROWS, 3)


class RunningGenerator:
    """A generator that does not end; the state is the Loader's."""

    def __init__(self, loader: scd.Loader, state: Any) -> None:
        if state is not None:
            loader.load_state_dict(state)
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return forever(self.loader)

    def state(self) -> Any:
        return self.loader.state_dict()


class TestGenerators(InProcessContract):
    """A generator reads the Loader it is given, whatever share that is."""

    takes_shards = ("rank", "worker")

    def one_epoch(self, loader: Any) -> Any:
        return batches(loader)

    def run(self, loader: scd.Loader, state: Any = None) -> Running:
        return RunningGenerator(loader, state)


def make_loader(collection: Any = TABLE, **options: Any) -> scd.Loader:
    sizes: dict[str, Any] = {"batch_size": 32, "fetch_factor": 4, "seed": 3}
    return scd.Loader(collection, scd.BlockShuffling(8), **(sizes | options))


def plate_loader(plates: Path, **options: Any) -> scd.Loader:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    return make_loader(source, **options)


def reading_threads() -> list[threading.Thread]:
    """Return the threads of Loaders, not those of caches, which outlive them."""
    return [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


def assert_same_batch(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same_batch(one[name], other[name])
    elif sp.issparse(one):
        assert one.shape == other.shape
        for part in ("data", "indices", "indptr"):
            assert_same_batch(getattr(one, part), getattr(other, part))
    else:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("generator", [batches, cells, forever])
def test_break_leaves_no_thread(generator: Any) -> None:
    before = reading_threads()
    running = generator(make_loader())
    for _ in running:
        break
    assert len(reading_threads()) > len(before)
    running.close()
    assert reading_threads() == before


def test_dropped_generator_leaves_no_thread() -> None:
    before = reading_threads()
    for _ in batches(make_loader()):
        break
    assert reading_threads() == before


@pytest.mark.parametrize("generator", [batches, cells, forever])
@pytest.mark.parametrize("hook", ["fetch_transform", "batch_transform"])
def test_errors_rise_in_the_consumer(generator: Any, hook: str) -> None:
    def fail(_: Any) -> Any:
        raise ArithmeticError("the hook's own error")

    before = reading_threads()
    with pytest.raises(ArithmeticError, match="the hook's own error") as caught:
        next(generator(make_loader(**{hook: fail})))
    assert "fail" in [frame.name for frame in caught.traceback]
    assert reading_threads() == before


def test_cells_of_arrays_are_rows() -> None:
    rows = np.stack(list(cells(make_loader())))
    np.testing.assert_array_equal(rows, np.concatenate(list(make_loader())))


def test_cells_of_sparse_matrices_keep_one_row() -> None:
    matrix = sp.csr_array(TABLE)
    one = next(cells(make_loader(matrix)))
    first = next(iter(make_loader(matrix)))
    np.testing.assert_array_equal(one.toarray(), first.toarray()[:1])


def test_cells_of_tuples_are_tuples() -> None:
    loader = make_loader(batch_transform=lambda rows: (rows, list(rows[:, 0])))
    row, first = next(cells(loader))
    assert row.shape == (3,)
    assert row[0] == first
    assert sum(1 for _ in cells(loader)) == N_ROWS


def test_cells_of_files_leave_out_filled_rows(plates: Path) -> None:
    loader = plate_loader(plates, output="padded", batch_size=77)
    singles = list(cells(loader))
    assert sorted(int(cell["index"]) for cell in singles) == list(range(N_ROWS))
    assert singles[0]["X"]["values"].shape == (128,)
    assert singles[0]["obs"]["drug"].shape == ()


def test_forever_goes_through_the_epochs() -> None:
    loader, reference = make_loader(), make_loader()
    expected = [batch for _ in range(3) for batch in reference]
    given_ = list(itertools.islice(forever(loader), len(expected)))
    for one, other in zip(given_, expected, strict=True):
        assert_same_batch(one, other)
    assert loader.epoch == 2


@pytest.mark.filterwarnings("ignore:epoch 0 of this Loader has no minibatch")
def test_forever_without_a_batch_is_an_error() -> None:
    loader = make_loader(batch_size=N_ROWS + 1, drop_last=True)
    with pytest.raises(ValueError, match="would never yield: an epoch"):
        forever(loader)


@pytest.mark.parametrize("generator", [batches, cells, forever])
@pytest.mark.parametrize("given", ["plates/*.h5ad", TABLE, iter([])])
def test_what_is_no_loader_is_an_error_at_the_call(generator: Any, given: Any) -> None:
    words = (
        rf"loader must be a scdataset_core\.Loader, got {type(given).__name__}; make"
    )
    with pytest.raises(TypeError, match=words):
        generator(given)


@pytest.mark.filterwarnings("ignore:epoch 0 of this Loader has no minibatch")
@pytest.mark.parametrize("generator", [batches, cells])
def test_an_epoch_without_a_batch_ends_at_once(generator: Any) -> None:
    loader = make_loader(batch_size=N_ROWS + 1, drop_last=True)
    assert list(generator(loader)) == []


def test_feeds_partial_fit(plates: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    loader = plate_loader(plates)
    classes = np.arange(len(loader.source.categories["drug"]))
    model = linear_model.SGDClassifier(random_state=0)
    for batch in batches(loader):
        model.partial_fit(batch["X"], batch["obs"]["drug"], classes=classes)
    assert model.coef_.shape == (3, loader.source.shape[1])
    assert model.t_ == N_ROWS + 1


def test_feeds_a_from_generator_signature() -> None:
    """Called with no argument once an epoch, as `tf.data`'s `from_generator` does."""
    loader = make_loader(batch_transform=lambda rows: (rows[:, 1:], rows[:, 0]))

    def from_generator(generator: Any, args: tuple[Any, ...] = ()) -> Iterator[Any]:
        assert callable(generator)
        yield from generator(*args)

    for epoch in range(2):
        seen = np.concatenate([y for _, y in from_generator(batches, args=(loader,))])
        np.testing.assert_array_equal(np.sort(seen), TABLE[:, 0])
        assert loader.epoch == epoch


def test_feeds_a_keras_py_dataset() -> None:
    """`PyDataset`: `len`, items by number from threads, `on_epoch_end`.

    `test_keras.py` has the real one.
    """
    loader = make_loader()
    numbers = np.random.default_rng(0).permutation(len(loader)).tolist()
    for epoch in range(2):
        with ThreadPoolExecutor(3) as pool:
            given = dict(
                zip(
                    numbers,
                    pool.map(partial(loader.batch, epoch=epoch), numbers),
                    strict=True,
                )
            )
        expected = make_loader()
        expected.set_epoch(epoch)
        for number, batch in enumerate(expected):
            assert_same_batch(given[number], batch)


def total(batch: Any) -> float:
    return float(batch.sum())


def test_feeds_a_pool_of_processes() -> None:
    # spawn: what macOS and Windows do, and Linux where threads must not be forked
    with get_context("spawn").Pool(1) as pool:
        running = batches(make_loader())
        totals: list[float] = []
        while group := list(itertools.islice(running, 8)):
            totals += pool.map(total, group)
    assert totals == [total(batch) for batch in make_loader()]


def test_sets_of_cells_are_not_taken_apart(plates: Path) -> None:
    source = scd.open(plates / "plate1.h5ad", obs=["drug"])
    loader = scd.Loader(source, scd.GroupSampling("drug", 8), batch_size=16)
    with pytest.raises(ValueError, match="the cells of a set belong together"):
        cells(loader)
