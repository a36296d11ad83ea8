"""The Loader over `.h5ad` files: X, labels and row numbers of one cell, always."""

import gc
import json
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd

ad = pytest.importorskip("anndata")
pd = pytest.importorskip("pandas")

SIZES = (70, 1, 133)
N_GENES = 40
LABELS = ["a", "b", "c", None]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three files whose every row says which global row it is: in X and in obs."""
    folder = tmp_path_factory.mktemp("ids")
    rng = np.random.default_rng(0)
    first = 0
    for number, n in enumerate(SIZES):
        rows = np.arange(first, first + n)
        dense = rng.integers(0, 3, (n, N_GENES)).astype(np.float32)
        dense[:, 0] = rows + 1
        obs = pd.DataFrame(
            {
                "row": rows,
                "label": pd.Categorical([LABELS[row % 4] for row in rows]),
                "name": [f"n{row}" for row in rows],
            },
            index=[f"cell{row}" for row in rows],
        )
        var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
        adata = ad.AnnData(sp.csr_matrix(dense), obs=obs, var=var)
        adata.layers["dense"] = dense
        adata.write_h5ad(
            folder / f"{number}.h5ad", compression="gzip" if number == 2 else None
        )
        first += n
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def everything(files):
    parts = [ad.read_h5ad(path).layers["dense"] for path in files]
    return np.concatenate(parts)


def unpadded(x, n_genes=N_GENES):
    dense = np.zeros((len(x["length"]), n_genes), x["values"].dtype)
    for row, n in enumerate(x["length"]):
        dense[row, x["indices"][row, :n]] = x["values"][row, :n]
    return dense


def dense_x(batch):
    x = batch.X if isinstance(batch, ad.AnnData) else batch["X"]
    if isinstance(x, dict):
        return unpadded(x)
    return x.toarray() if sp.issparse(x) else x


STRATEGIES = {
    "streaming": scd.Streaming(),
    "blocks": scd.BlockShuffling(4),
    "storage": scd.BlockShuffling("storage"),
    "weighted": scd.BlockWeightedSampling(4, weights=np.arange(204) ** 2.0),
    "subset": scd.BlockShuffling(3, indices=np.arange(5, 200, 3)),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("output", [None, "csr", "dense", "padded"])
@pytest.mark.parametrize("x", ["X", "layers/dense"])
def test_parts_of_a_batch_are_of_the_same_cells(files, everything, strategy, output, x):
    source = scd.open(files, obs=["row", "label", "name"], x=x)
    loader = scd.Loader(
        source, STRATEGIES[strategy], batch_size=16, fetch_factor=3, output=output
    )
    seen = []
    for batch in loader:
        real = batch["index"] >= 0
        rows = batch["index"][real]
        assert np.array_equal(dense_x(batch)[real], everything[rows])
        assert np.array_equal(batch["obs"]["row"][real], rows)
        names = source.categories["name"]
        assert [names[code] for code in batch["obs"]["name"][real]] == [
            f"n{row}" for row in rows
        ]
        found = [
            None if code < 0 else source.categories["label"][code]
            for code in batch["obs"]["label"][real]
        ]
        assert found == [LABELS[row % 4] for row in rows]
        seen += rows.tolist()
    if strategy in ("streaming", "blocks", "storage"):
        assert sorted(seen) == list(range(204))


def test_anndata_output_decodes_labels(files, everything):
    source = scd.open(files, obs=["label"], obs_names=True)
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=16, output="anndata")
    for batch in loader:
        rows = [int(name.removeprefix("cell")) for name in batch.obs_names]
        assert np.array_equal(dense_x(batch), everything[rows])
        assert [None if pd.isna(label) else label for label in batch.obs["label"]] == [
            LABELS[row % 4] for row in rows
        ]
        assert list(batch.var_names) == [f"g{i}" for i in range(N_GENES)]


def test_anndata_rows_are_named_by_number(files):
    loader = scd.Loader(scd.open(files), scd.Streaming(), output="anndata")
    assert list(next(iter(loader)).obs_names)[:3] == ["0", "1", "2"]


def test_obs_is_there_without_columns(files):
    assert next(iter(scd.Loader(scd.open(files))))["obs"] == {}


def test_padded_batches_have_one_shape(files):
    source = scd.open(files, obs=["row", "label"])
    loader = scd.Loader(source, batch_size=50, output="padded")
    shapes = {
        (b["X"]["indices"].shape, b["X"]["values"].shape, b["X"]["length"].shape)
        for b in loader
    }
    assert shapes == {((50, 128), (50, 128), (50,))}
    *_, last = loader
    assert (last["index"] == -1).sum() == 250 - 204
    assert (last["obs"]["label"][last["index"] == -1] == -1).all()
    assert (last["X"]["length"][last["index"] == -1] == 0).all()


def test_cells_without_genes_are_padded_to_nothing(tmp_path):
    ad.AnnData(sp.csr_matrix((5, 0), dtype=np.float32)).write_h5ad(tmp_path / "x.h5ad")
    batch = next(iter(scd.Loader(scd.open(tmp_path / "x.h5ad"), output="padded")))
    assert (batch["X"]["length"] == 0).all()


def test_a_narrow_width_is_an_error_or_keeps_the_largest(files, everything):
    source = scd.open(files)
    with pytest.raises(ValueError, match='overflow="largest"'):
        list(scd.Loader(source, output="padded", width=8))
    loader = scd.Loader(
        source, scd.Streaming(), output="padded", width=8, overflow="largest"
    )
    batch = next(iter(loader))
    expected = -np.sort(-everything[0])[:8]
    assert sorted(batch["X"]["values"][0], reverse=True) == expected.tolist()


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "float16"])
def test_dtype_is_that_asked_for(files, everything, output, dtype):
    source = scd.open(files)
    if output == "csr" and dtype == "float16":
        with pytest.raises(ValueError, match="no sparse float16"):
            scd.Loader(source, output=output, dtype=dtype)
        return
    batch = next(iter(scd.Loader(source, output=output, dtype=dtype)))
    x = dense_x(batch)
    assert x.dtype == dtype
    assert np.array_equal(x, everything[batch["index"]].astype(dtype))


def test_dtype_is_in_native_byte_order(files):
    batch = next(iter(scd.Loader(scd.open(files), dtype=">f4")))
    assert batch["X"].dtype == np.dtype("float32")


def test_a_file_without_cells_is_named(tmp_path):
    ad.AnnData(np.empty((0, 3), np.float32)).write_h5ad(tmp_path / "none.h5ad")
    with pytest.raises(ValueError, match=r"none\.h5ad: the .* has no rows"):
        scd.Loader(scd.open(tmp_path / "none.h5ad"))


def test_one_transform_serves_fetches_and_batches(files):
    def halve(cells):
        return {**cells, "X": cells["X"] / 2}

    source = scd.open(files, obs=["row"])
    plain = scd.Loader(source, scd.BlockShuffling(4), batch_size=16)
    for hook in ("fetch_transform", "batch_transform"):
        hooked = scd.Loader(
            source, scd.BlockShuffling(4), batch_size=16, **{hook: halve}
        )
        for a, b in zip(plain, hooked, strict=True):
            assert np.array_equal(dense_x(a) / 2, dense_x(b))
            assert np.array_equal(a["index"], b["index"])
            assert a["obs"].keys() == b["obs"].keys()
        plain.set_epoch(0)


@pytest.mark.parametrize("output", ["anndata", "padded", "dense"])
def test_fetch_hooks_give_batches_in_the_form_asked_for(files, output):
    source = scd.open(files, obs=["row"])
    sizes = {"batch_size": 50, "fetch_factor": 2, "output": output}
    plain = scd.Loader(source, scd.BlockShuffling(4), **sizes)
    hooks = [
        {"fetch_callback": lambda collection, rows: collection.read(rows)},
        {"batch_callback": lambda fetched, positions: fetched.take(positions)},
        {"fetch_transform": lambda cells: cells},
    ]
    hooked = [
        scd.Loader(source, scd.BlockShuffling(4), **sizes, **hook) for hook in hooks
    ]
    for loader in hooked:
        plain.set_epoch(0)
        for a, b in zip(plain, loader, strict=True):
            assert np.array_equal(dense_x(a), dense_x(b))
            if output != "anndata":
                assert np.array_equal(a["index"], b["index"])


def test_batches_kept_over_an_epoch_stay_as_they_were(files, everything):
    source = scd.open(files)
    loader = scd.Loader(source, scd.BlockShuffling(2), batch_size=8, fetch_factor=2)
    kept = [batch for _ in range(5) for batch in loader]
    for batch in kept:
        assert np.array_equal(dense_x(batch), everything[batch["index"]])


def test_state_knows_the_data_and_not_where_it_lies(files, tmp_path):
    loader = scd.Loader(scd.open(files), batch_size=16)
    iterator = iter(loader)
    next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    moved = [tmp_path / path.name for path in files]
    for path, target in zip(files, moved, strict=True):
        target.write_bytes(path.read_bytes())
    elsewhere = scd.Loader(scd.open(moved), batch_size=16)
    elsewhere.load_state_dict(state)
    for a, b in zip(iterator, elsewhere, strict=True):
        assert np.array_equal(a["index"], b["index"])
    assert str(files[0].parent) not in json.dumps(state)
    fewer = scd.Loader(scd.open(files[1:]), batch_size=16)
    with pytest.raises(scd.StateError, match="another data set"):
        fewer.load_state_dict(state)


def test_memory_is_turned_into_a_fetch_factor_once(files):
    source = scd.open(files)
    small = scd.Loader(source, batch_size=16, memory="100kB")
    large = scd.Loader(source, batch_size=16, memory="10MB")
    assert 1 <= small.fetch_factor < large.fetch_factor
    assert f"fetches of {small.fetch_factor} batches" in repr(small)
    with pytest.raises(ValueError, match="too little"):
        scd.Loader(source, batch_size=16, memory="1kB")


def test_stats_count_bytes(files):
    loader = scd.Loader(scd.open(files), batch_size=16)
    n = sum(len(batch["index"]) for batch in loader)
    assert loader.stats.n_cells == n == 204
    assert loader.stats.to_dict()["bytes_read"] > 0
    assert loader.stats.to_dict()["bytes_used"] > 0


def test_a_truncated_file_is_named_and_no_thread_is_left(files, tmp_path):
    path = tmp_path / "cut.h5ad"
    path.write_bytes(Path(files[2]).read_bytes())
    loader = scd.Loader(scd.open(path), batch_size=16)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(OSError, match=r"cut\.h5ad"):
        list(loader)
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


@pytest.fixture(scope="module")
def pbmc():
    """The data set in scanpy's wheel: dense X, CSR raw/X, an old layout of the file."""
    spec = find_spec("scanpy")
    if spec is None or spec.origin is None:
        pytest.skip("scanpy is not installed")
    return Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"


# AnnData itself warns of every element of so old a file.
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
@pytest.mark.filterwarnings("ignore:Moving element:FutureWarning")
@pytest.mark.parametrize("x", ["X", "raw/X", "obsm/X_pca"])
@pytest.mark.parametrize("output", [None, "csr", "dense", "padded", "anndata"])
def test_real_cells_are_those_anndata_reads(pbmc, x, output):
    adata = ad.read_h5ad(pbmc)
    wanted = {"X": adata.X, "raw/X": adata.raw.X, "obsm/X_pca": adata.obsm["X_pca"]}[x]
    wanted = wanted.toarray() if sp.issparse(wanted) else wanted
    source = scd.open(pbmc, obs=["bulk_labels", "n_genes"], x=x)
    assert source.shape == wanted.shape
    loader = scd.Loader(source, batch_size=64, output=output)
    labels = adata.obs["bulk_labels"].astype(str).to_numpy()
    seen = 0
    for batch in loader:
        if output == "anndata":
            rows = batch.obs_names.astype(int).to_numpy()
            assert np.array_equal(batch.obs["bulk_labels"].astype(str), labels[rows])
            assert np.array_equal(dense_x(batch), wanted[rows])
        else:
            real = batch["index"] >= 0
            rows = batch["index"][real]
            codes = batch["obs"]["bulk_labels"][real]
            vocabulary = np.array(source.categories["bulk_labels"])
            assert np.array_equal(vocabulary[codes], labels[rows])
            assert np.array_equal(
                batch["obs"]["n_genes"][real], adata.obs["n_genes"].to_numpy()[rows]
            )
            found = (
                unpadded(batch["X"], wanted.shape[1])
                if output == "padded"
                else dense_x(batch)
            )
            assert np.array_equal(found[real], wanted[rows])
        seen += len(rows)
    assert seen == 700


def test_any_integer_of_numpy_is_a_number_of_threads(files, everything):
    loader = scd.Loader(scd.open(files), scd.Streaming(), threads=np.int8(4))
    got = np.concatenate([dense_x(batch) for batch in loader])
    np.testing.assert_array_equal(got, everything)
