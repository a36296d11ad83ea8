"""A Loader's epoch as a data set of Ray Data: its tasks, rows and columns."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd

pytest.importorskip("scdataset_ray")
import pyarrow as pa
from scdataset_ray import datasource


@pytest.fixture
def source(plates: Path) -> scd.Source:
    return scd.open(plates / "*.h5ad", obs=["cell_line", "total_counts"])


def make_loader(source: Any, **options: Any) -> scd.Loader:
    given: dict[str, Any] = {"strategy": scd.BlockShuffling(8), "seed": 3}
    given |= {"batch_size": 32, "fetch_factor": 4}
    return scd.Loader(source, **(given | options))


def read(tasks: Any) -> list[pa.Table]:
    """Return what each task gives, as a worker gets it."""
    return [pa.concat_tables(pickle.loads(pickle.dumps(task))()) for task in tasks]


def rows_of(tables: list[pa.Table]) -> Any:
    return np.concatenate([table["index"].to_numpy() for table in tables])


def to_csr(table: pa.Table, n_vars: int) -> sp.csr_array:
    indices = table["indices"].combine_chunks()
    data = table["data"].combine_chunks().flatten().to_numpy()
    ids, starts = indices.flatten().to_numpy(), indices.offsets.to_numpy()
    return sp.csr_array((data, ids, starts - starts[0]), (len(table), n_vars))


def test_each_fetch_is_a_task_in_the_order_of_the_loader(source: Any) -> None:
    loader = make_loader(source)
    tasks = datasource(loader).get_read_tasks(2)
    assert len(tasks) == -(-1200 // 128)
    tables = read(tasks)
    assert [task.metadata.num_rows for task in tasks] == [len(t) for t in tables]
    batches = list(loader)
    assert np.array_equal(
        rows_of(tables), np.concatenate([b["index"] for b in batches])
    )
    whole = pa.concat_tables(tables)
    X = sp.vstack([batch["X"] for batch in batches])
    assert (to_csr(whole, source.shape[1]) != X).nnz == 0
    for name in ("cell_line", "total_counts"):
        values = np.concatenate([batch["obs"][name] for batch in batches])
        assert np.array_equal(whole[name].to_numpy(), values)
        assert whole[name].type == pa.from_numpy_dtype(values.dtype)


def test_the_schema_is_known_before_anything_is_read(source: Any) -> None:
    expected = {
        "indices": pa.list_(pa.int32()),
        "data": pa.list_(pa.float32()),
        "cell_line": pa.int32(),
        "total_counts": pa.float32(),
        "index": pa.int64(),
    }
    given: Any = datasource(make_loader(source))
    assert {field.name: field.type for field in given.schema} == expected
    (table,) = read(given.get_read_tasks(1)[:1])
    assert table.schema == given.schema


def test_dense_cells_are_tensors_of_fixed_size(source: Any) -> None:
    loader = make_loader(source, output="dense", dtype="float64")
    given: Any = datasource(loader)
    assert given.schema.field("X").type == pa.fixed_shape_tensor(pa.float64(), [300])
    assert pa.types.is_fixed_size_list(given.schema.field("X").type.storage_type)
    (table, *_) = read(given.get_read_tasks(1))
    X = table["X"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(X[:32], next(iter(loader))["X"])


def test_rows_that_fill_short_padded_batches_are_left_out(source: Any) -> None:
    loader = make_loader(source, output="padded", batch_size=37)
    given: Any = datasource(loader)
    assert given.schema.names[:3] == ["indices", "values", "length"]
    tables = read(given.get_read_tasks(1))
    assert [t.num_rows for t in tables] == [
        task.metadata.num_rows for task in given.get_read_tasks(1)
    ]
    rows = rows_of(tables)
    assert np.array_equal(np.sort(rows), np.arange(len(source)))
    length = pa.concat_tables(tables)["length"].to_numpy()
    assert np.array_equal(length, source.row_lengths(rows))


def test_columns_of_several_arrays_have_their_names(plates: Path) -> None:
    source = scd.open(plates / "plate1.h5ad", x=["X", "obsm/X_pca"])
    given: Any = datasource(make_loader(source))
    assert given.schema.names == ["X/indices", "X/data", "obsm/X_pca", "index"]


def test_drop_last_leaves_out_what_the_loader_does(source: Any) -> None:
    loader = make_loader(source, batch_size=50, fetch_factor=3, drop_last=True)
    tables = read(datasource(loader).get_read_tasks(1))
    assert np.array_equal(rows_of(tables), np.concatenate([b["index"] for b in loader]))


def test_each_epoch_is_its_own(source: Any) -> None:
    loader = make_loader(source)
    later = rows_of(read(datasource(loader.fresh(3)).get_read_tasks(1)))
    assert np.array_equal(later, np.concatenate([b["index"] for b in loader.fresh(3)]))
    next(iter(loader))  # the next iteration is epoch 1
    following = rows_of(read(datasource(loader).get_read_tasks(1)))
    assert np.array_equal(
        following, np.concatenate([b["index"] for b in loader.fresh(1)])
    )


def test_the_rest_of_an_epoch_is_a_data_set(source: Any) -> None:
    loader = make_loader(source)
    batches = iter(loader)
    begun = [next(batches)["index"] for _ in range(6)]  # one fetch and a half
    resumed = make_loader(source)
    resumed.load_state_dict(scd.merge_states([loader.state_dict()]))
    tables = read(datasource(resumed).get_read_tasks(1))
    assert [len(table) for table in tables][:2] == [64, 128]
    rows = np.concatenate([*begun, rows_of(tables)])
    assert np.array_equal(rows, np.concatenate([b["index"] for b in loader.fresh(0)]))


def test_hooks_run_in_the_tasks(source: Any) -> None:
    hook = scd.transforms.rank_tokens(
        np.arange(source.shape[1]) + 1, np.ones(source.shape[1]), length=16
    )
    loader = make_loader(source, batch_transform=hook)
    given: Any = datasource(loader)
    assert given.schema is None
    tasks = given.get_read_tasks(1)
    assert tasks[0].metadata.num_rows is None
    (table, *_) = read(tasks)
    expected = next(iter(loader))["X"]
    tokens = table["tokens"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(tokens[:32], expected["tokens"])


def test_tasks_say_how_much_they_bring(source: Any) -> None:
    given: Any = datasource(make_loader(source))
    tasks = given.get_read_tasks(4, per_task_row_limit=10)
    sizes = [task.metadata.size_bytes for task in tasks]
    assert given.estimate_inmemory_data_size() == sum(sizes)
    mean = sum(t.nbytes for t in read(given.get_read_tasks(4))) / len(tasks)
    assert 0.5 < np.mean(sizes) / mean < 2
    assert sum(len(table) for table in tasks[0]()) == 10


def test_an_empty_epoch_has_no_task(source: Any) -> None:
    with pytest.warns(UserWarning, match="has no minibatch"):
        loader = make_loader(source, batch_size=5000, drop_last=True)
    given: Any = datasource(loader)
    assert given.get_read_tasks(3) == []
    assert given.estimate_inmemory_data_size() == 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        pytest.param(lambda s: 3, TypeError, r"must be a .*Loader", id="no_loader"),
        pytest.param(
            lambda s: make_loader(s).shard(0, 2),
            ValueError,
            "already divided.*streaming_split",
            id="divided",
        ),
        pytest.param(
            lambda s: make_loader(np.arange(9)), TypeError, "open", id="no_source"
        ),
        pytest.param(
            lambda s: make_loader(s, output="anndata"),
            TypeError,
            "AnnData; give the Loader output",
            id="anndata",
        ),
        pytest.param(
            lambda s: make_loader(s, output="padded", width=[128, 256]),
            ValueError,
            r"one width.*\[128, 256\]",
            id="widths",
        ),
        pytest.param(
            lambda s: make_loader(s, strategy=scd.GroupSampling(["cell_line"], 8)),
            ValueError,
            r"sets of cells.*Ray Train",
            id="sets",
        ),
    ],
)
def test_what_is_no_table_of_cells_is_refused(
    make: Any, error: Any, words: str, source: Any
) -> None:
    loader = make(source)
    with pytest.raises(error, match=words):
        datasource(loader)


def test_an_obs_column_with_the_name_of_another_is_refused() -> None:
    ad = pytest.importorskip("anndata")
    adata = ad.AnnData(sp.csr_matrix(np.eye(4, dtype=np.float32)))
    adata.obs["data"] = [1, 2, 3, 4]
    loader = make_loader(scd.open(adata, obs=["data"]))
    with pytest.raises(ValueError, match="have the name 'data'"):
        datasource(loader)


def test_a_batch_with_other_rows_is_refused(source: Any) -> None:
    loader = make_loader(
        source, batch_transform=lambda batch: {**batch, "total": np.zeros(1)}
    )
    with pytest.raises(ValueError, match="a row for each cell"):
        list(datasource(loader).get_read_tasks(1)[0]())
    loader = make_loader(source, batch_transform=lambda batch: {**batch, "total": 1})
    with pytest.raises(TypeError, match=r"batch\['total'\] is a int"):
        list(datasource(loader).get_read_tasks(1)[0]())


cluster = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("ray_cluster"),
    # Ray Data sets what it has deprecated, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def mark_all(function: Any) -> Any:
    for mark in cluster:
        function = mark(function)
    return function


@mark_all
def test_a_data_set_has_every_cell_once_in_minibatches_of_the_loader(
    source: Any, plates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    monkeypatch.chdir(plates.parent)
    source = scd.open("plates/*.h5ad", obs=["cell_line"])  # actors are elsewhere
    loader = make_loader(source, batch_size=50, fetch_factor=4)
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context.execution_options, "preserve_order", True)
    monkeypatch.setattr(context, "enable_progress_bars", False)
    dataset = ray.data.read_datasource(datasource(loader))
    assert dataset.schema().names == ["indices", "data", "cell_line", "index"]
    assert dataset.count() == len(source)
    expected = list(loader)
    given = list(dataset.iter_batches(batch_size=50, batch_format="pyarrow"))
    assert len(given) == len(expected)
    for table, batch in zip(given, expected, strict=True):
        assert np.array_equal(table["index"].to_numpy(), batch["index"])
        assert (to_csr(table, source.shape[1]) != batch["X"]).nnz == 0
    dense = ray.data.read_datasource(datasource(make_loader(source, output="dense")))
    assert dense.take_batch(1200)["X"].shape == (1200, 300)


@mark_all
def test_a_data_set_is_divided_among_consumers(
    source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "enable_progress_bars", False)
    dataset = ray.data.read_datasource(datasource(make_loader(source)))
    parts = dataset.streaming_split(2)

    @ray.remote
    def consume(part: Any) -> list[int]:
        batches = part.iter_batches(batch_size=32, batch_format="numpy")
        return [int(row) for batch in batches for row in batch["index"]]

    rows = np.concatenate(ray.get([consume.remote(part) for part in parts]))
    assert sorted(rows.tolist()) == list(range(len(source)))
