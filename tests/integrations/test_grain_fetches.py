"""Random access through Grain: whole fetches, and single cells."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

grain = pytest.importorskip("grain")
pytest.importorskip("scdataset_grain")

from scdataset_grain import CellSource, FetchDataset, SplitFetches  # noqa: E402

N_ROWS = 600
TABLE = np.arange(N_ROWS * 3, dtype=np.float32).reshape(N_ROWS, 3)
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)


def make_loader(collection: Any = TABLE, **options: Any) -> scd.Loader:
    sizes: dict[str, Any] = {"batch_size": 32, "fetch_factor": 4, "seed": 3}
    return scd.Loader(collection, scd.BlockShuffling(8), **(sizes | options))


def test_fetches_in_order_are_the_loaders_batches() -> None:
    fetches = FetchDataset(make_loader())
    assert len(fetches) == 5
    batches = [batch for number in range(5) for batch in fetches[number]]
    for one, other in zip(batches, make_loader(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fetches_of_files_are_the_loaders_batches(plates: Path) -> None:
    source = scd.open(plates / "*.h5ad", obs=["drug"])
    loader = make_loader(source, batch_size=70, output="padded")
    dataset = FetchDataset(loader).to_iter_dataset(READING).apply(SplitFetches())
    for one, other in zip(dataset, loader, strict=True):
        np.testing.assert_equal(one, other)


def test_hooks_on_fetches_get_whole_fetches() -> None:
    sizes = []

    def count(rows: Any) -> Any:
        sizes.append(len(rows))
        return rows

    fetches = FetchDataset(make_loader(fetch_transform=count))
    assert [len(batch) for batch in fetches[4]] == [32, 32, 24]
    assert sizes == [88]


def test_grain_shuffles_and_shards_without_loss() -> None:
    seen = []
    for rank in range(2):
        fetches = FetchDataset(make_loader()).shuffle(seed=5)[rank::2]
        dataset = fetches.to_iter_dataset(READING).apply(SplitFetches())
        seen += [batch[:, 0] for batch in dataset]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), TABLE[:, 0])
    assert not np.array_equal(seen[0], next(iter(make_loader()))[:, 0])


def test_numbers_beyond_an_epoch_are_of_the_next() -> None:
    loader = make_loader()
    loader.set_epoch(2)
    fetches = FetchDataset(loader).repeat(2)
    reference = make_loader()
    reference.set_epoch(2)
    expected = [batch for _ in range(2) for batch in reference]
    given = [batch for number in range(10) for batch in fetches[number]]
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:epoch . of this Loader has no minibatch")
def test_an_epoch_without_a_batch_has_no_fetch() -> None:
    fetches = FetchDataset(make_loader(batch_size=N_ROWS + 1, drop_last=True))
    assert list(fetches.to_iter_dataset(READING)) == []
    with pytest.raises(IndexError, match="there is no fetch: an epoch of this loader"):
        fetches[0]


def test_splitting_resumes_within_a_fetch() -> None:
    fetches = FetchDataset(make_loader()).shuffle(seed=5)
    dataset = fetches.to_iter_dataset(READING).apply(SplitFetches())
    grain.experimental.assert_equal_output_after_checkpoint(dataset)


@pytest.mark.parametrize("shard", [{"world_size": 2}, {"num_workers": 2}])
def test_fetches_of_a_divided_loader_are_an_error(shard: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"already divided.*ds\[rank::world_size\]"):
        FetchDataset(make_loader(**shard))


def test_fetches_of_something_else_are_an_error() -> None:
    with pytest.raises(
        TypeError, match=r"must be a scdataset_core\.Loader, got ndarray"
    ):
        FetchDataset(TABLE)


@pytest.fixture(scope="module")
def cells(plates: Path) -> CellSource:
    return CellSource(scd.open(plates / "*.h5ad", obs=["drug"]))


def test_cells_are_rows_of_the_source(cells: CellSource, plates: Path) -> None:
    source = scd.open(plates / "*.h5ad", obs=["drug"])
    assert len(cells) == len(source) == 1200
    for row in (0, 399, 400, 1199):
        expected = source.read(np.array([row]))
        np.testing.assert_array_equal(cells[row]["X"], expected["X"].toarray()[0])
        assert cells[row]["obs"]["drug"] == expected["obs"]["drug"][0]
        assert cells[row]["index"] == row


def test_cells_outside_are_an_index_error(cells: CellSource) -> None:
    with pytest.raises(IndexError, match="row 1200 is outside the source's 1200 rows"):
        cells[1200]


def test_half_a_row_is_a_type_error(cells: CellSource) -> None:
    half: Any = 1.5
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        cells[half]


def test_cells_through_a_map_dataset(cells: CellSource) -> None:
    dataset = grain.MapDataset.source(cells).shuffle(seed=1)[::10].batch(16)
    batches = list(dataset.to_iter_dataset(READING))
    assert batches[0]["X"].shape == (16, 300)
    rows = np.concatenate([batch["index"] for batch in batches])
    assert len(set(rows)) == 120
    X = np.concatenate([batch["X"] for batch in batches])
    np.testing.assert_array_equal(X[7], cells[rows[7]]["X"])


def test_cells_through_a_data_loader(cells: CellSource) -> None:
    sampler = grain.samplers.IndexSampler(
        num_records=40, shuffle=True, seed=0, num_epochs=1
    )
    loader = grain.DataLoader(
        data_source=cells,
        sampler=sampler,
        operations=[grain.transforms.Batch(8)],
        worker_count=0,
        read_options=READING,
    )
    rows = np.concatenate([batch["index"] for batch in loader])
    assert sorted(rows) == list(range(40))


def test_cells_of_no_source_are_an_error() -> None:
    with pytest.raises(TypeError, match=r"what scdataset_core\.open returned, got"):
        CellSource(TABLE)
