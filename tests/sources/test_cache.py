"""Sources with a cache give the same batches: empty, part-filled and full."""

import itertools
import pickle

import numpy as np
import pytest

import scdataset_core as scd

ad = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def files(plates, tmp_path_factory):
    """Return compressed files: h5ad sparse and dense, with raw and layers, and zarr."""
    folder = tmp_path_factory.mktemp("compressed")
    paths = {}
    for number in (1, 2):
        adata = ad.read_h5ad(plates / f"plate{number}.h5ad")
        adata.raw = adata
        adata.layers["measures"] = adata.X.copy()
        adata.layers["measures"].data = np.log1p(adata.X.data).astype(np.float64)
        adata.layers["dense"] = adata.X.toarray()
        paths[f"plate{number}"] = folder / f"plate{number}.h5ad"
        adata.write_h5ad(paths[f"plate{number}"], compression="gzip")
    if number == 2:
        adata.X = adata.X.astype(np.int32)
        paths["other type"] = folder / "other.h5ad"
        adata.write_h5ad(paths["other type"], compression="lzf")
    return paths


def same(a, b):
    """Compare two batches bit for bit, and dtype for dtype."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict):
            same(value, b[name])
            continue
        arrays = [[value], [b[name]]]
        if hasattr(value, "indptr"):
            parts = ("data", "indices", "indptr")
            arrays = [[getattr(x[0], part) for part in parts] for x in arrays]
        for x, y in zip(*arrays, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def batches(source, epochs=1, **options):
    settings = {"batch_size": 16, "fetch_factor": 4, "seed": 3} | options
    strategy = scd.BlockShuffling(settings.pop("block_size", 4))
    loader = scd.Loader(source, strategy=strategy, **settings)
    return itertools.chain.from_iterable(loader for _ in range(epochs))


@pytest.mark.parametrize(
    "x",
    ["X", "raw/X", "layers/counts", "layers/measures", "layers/dense", "obsm/X_pca"],
)
@pytest.mark.parametrize("output", [None, "dense", "padded"])
def test_epochs_are_the_same_with_an_empty_and_a_full_cache(files, tmp_path, x, output):
    if output == "padded" and x in ("layers/dense", "obsm/X_pca"):
        pytest.skip("padded rows are sparse rows")
    paths = [files["plate1"], files["plate2"]]
    options = {} if output is None else {"output": output}
    source = scd.open(paths, x=x, obs=["drug"], cache=tmp_path / "cache")
    expected = batches(scd.open(paths, x=x, obs=["drug"]), 2, **options)
    for got, want in zip(batches(source, 2, **options), expected, strict=True):
        same(got, want)
    assert source.fill_cache() == source.cached == 1.0
    reopened = scd.open(paths, x=x, obs=["drug"], cache=tmp_path / "cache")
    assert reopened.cached == 1.0
    expected = batches(scd.open(paths, x=x, obs=["drug"]), **options)
    loader = (
        scd.Loader(
            reopened,
            strategy=scd.BlockShuffling(4),
            batch_size=16,
            fetch_factor=4,
            seed=3,
        )
        if output is None
        else None
    )
    for got, want in zip(
        batches(reopened, **options) if loader is None else loader,
        expected,
        strict=True,
    ):
        same(got, want)
    if loader is not None:
        stats = loader.stats.to_dict()
        assert stats["chunks_cached"] > 0
        assert stats["chunks_decoded"] == 0


def test_files_of_several_types_and_filters_share_a_cache(files, tmp_path):
    paths = [files["plate1"], files["other type"]]
    genes = ["gene7", "gene3", "gene250"]
    for chosen in (None, genes):
        source = scd.open(paths, genes=chosen, cache=tmp_path / "cache")
        for _ in range(2):
            expected = batches(scd.open(paths, genes=chosen))
            for got, want in zip(batches(source), expected, strict=True):
                same(got, want)
        source.fill_cache()
    entries = scd.Cache(tmp_path / "cache").entries()
    assert {entry.share for entry in entries} == {1.0}
    assert all(entry.in_use for entry in entries)


def test_uncompressed_files_beside_kept_ones_keep_their_rows(files, tmp_path):
    """What is kept is widened over whole minibatches, where others have rows too."""
    small = ad.read_h5ad(files["plate2"])[:20].copy()
    small.write_h5ad(tmp_path / "uncompressed.h5ad")
    paths = [files["plate1"], tmp_path / "uncompressed.h5ad"]
    source = scd.open(paths, cache=tmp_path / "cache")
    source.fill_cache()
    expected = batches(scd.open(paths), block_size=1)
    for got, want in zip(batches(source, block_size=1), expected, strict=True):
        same(got, want)


def test_a_source_with_a_cache_pickles_and_states_do_not_know_it(files, tmp_path):
    plain = scd.open(files["plate1"])
    source = scd.open(files["plate1"], cache=scd.Cache(tmp_path / "cache", "1GiB"))
    source.fill_cache()
    copy = pickle.loads(pickle.dumps(source))
    assert copy.cached == 1.0
    assert copy.cache == source.cache
    assert source.fingerprint == plain.fingerprint
    rows = np.arange(5, 300, 7)
    same(
        {"X": copy.read(rows)["X"]},
        {"X": plain.read(rows)["X"]},
    )
    loader = scd.Loader(source, batch_size=16, seed=1)
    other = scd.Loader(plain, batch_size=16, seed=1)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    other.load_state_dict(loader.state_dict())
    for got, want in zip(iterator, other, strict=True):
        same(got, want)


def test_a_rewritten_file_is_read_anew(files, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata = ad.read_h5ad(files["plate1"])
    adata.write_h5ad(path, compression="gzip")
    source = scd.open(path, cache=tmp_path / "cache")
    source.fill_cache()
    adata.X.data[:] = adata.X.data + 1
    adata.write_h5ad(path, compression="gzip")
    again = scd.open(path, cache=tmp_path / "cache")
    assert again.cached == 0.0
    np.testing.assert_array_equal(
        again.read(np.arange(50))["X"].toarray(), adata.X[:50].toarray()
    )
    with pytest.raises(scd.FileChangedError, match="changed since"):
        source.read(np.arange(50))


@pytest.mark.filterwarnings("ignore:.*zarr")
def test_zarr_stores_have_a_cache_too(files, tmp_path):
    pytest.importorskip("zarr")
    ad.read_h5ad(files["plate1"]).write_zarr(tmp_path / "cells.zarr")
    plain = scd.open(tmp_path / "cells.zarr")
    source = scd.open(tmp_path / "cells.zarr", cache=tmp_path / "cache")
    for _ in range(3):
        for got, want in zip(batches(source), batches(plain), strict=True):
            same(got, want)
    assert source.fill_cache() == 1.0
    assert scd.Cache(tmp_path / "cache").clear(tmp_path / "cells.zarr") > 0
    assert scd.open(tmp_path / "cells.zarr", cache=tmp_path / "cache").cached == 0.0


def test_modalities_share_a_cache(files, tmp_path):
    mu = pytest.importorskip("mudata")
    rna = ad.read_h5ad(files["plate1"])
    rna.raw = None
    protein = ad.AnnData(rna.layers["dense"][:, :7].copy(), obs=rna.obs[[]])
    protein.var_names = [f"protein{i}" for i in range(7)]
    with mu.set_options(pull_on_update=False):
        mu.MuData({"rna": rna, "protein": protein}).write_h5mu(
            tmp_path / "cells.h5mu", compression="gzip"
        )
    plain = scd.open(tmp_path / "cells.h5mu")
    source = scd.open(tmp_path / "cells.h5mu", cache=tmp_path / "cache")
    assert source.fill_cache() == 1.0
    for got, want in zip(batches(source), batches(plain), strict=True):
        same(got, want)


def test_uncompressed_data_need_no_cache(plates, tmp_path):
    source = scd.open(plates / "plate1.h5ad", cache=tmp_path / "cache")
    assert source.fill_cache() == source.cached == 0.0
    with pytest.raises(ValueError, match="no cache to fill"):
        scd.open(plates / "plate1.h5ad").fill_cache()


def test_a_cache_is_refused_where_it_does_not_go(files, tmp_path):
    with pytest.raises(ValueError, match="cache goes with"):
        scd.open(np.eye(3), cache=tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"other content \(letter.txt\)"):
        scd.open(files["plate1"], cache=tmp_path / "mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        scd.open(files["plate1"], cache=tmp_path / "mine" / "letter.txt")
    for limit in (0, -5, "many", 10):
        with pytest.raises(ValueError, match="limit must"):
            scd.open(files["plate1"], cache=scd.Cache(tmp_path / "cache", limit))
