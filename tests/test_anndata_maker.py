"""AnnData minibatches: what they share is made once, and shared safely."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core import BlockShuffling, Loader
from scdataset_core.anndata_maker import AnnDataMaker
from scdataset_core.cells import CellInfo, Cells

pd = pytest.importorskip("pandas")
ad = pytest.importorskip("anndata")

INFO = CellInfo(
    np.array([f"g{i}" for i in range(5)], object),
    {"line": ["b", "a"], "stage": ["low", "high"]},
    frozenset(["stage"]),
)


def cells(n, *, start=0, names=None):
    rng = np.random.default_rng(start)
    obs = {
        "line": rng.integers(-1, 2, n).astype(np.int32),
        "stage": rng.integers(-1, 2, n).astype(np.int32),
        "depth": rng.random(n),
    }
    x = sp.random_array((n, 5), density=0.5, format="csr", rng=rng)
    return Cells(x, obs, np.arange(start, start + n), INFO, names)


def plainly(batch):
    """Return what AnnData's own constructor makes of some cells."""
    index, codes = batch["index"], batch["obs"]
    obs = pd.DataFrame(
        {
            "line": pd.Categorical.from_codes(codes["line"], ["b", "a"]),
            "stage": pd.Categorical.from_codes(codes["stage"], ["low", "high"], True),
            "depth": codes["depth"],
        },
        index=index.astype(str),
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(5)])
    return ad.AnnData(X=batch["X"], obs=obs, var=var)


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    assert type(one.X) is type(other.X)
    assert (one.X != other.X).nnz == 0
    assert one.shape == other.shape
    assert one.var.index.dtype == other.var.index.dtype
    assert one.obs.index.dtype == other.obs.index.dtype


def test_every_object_is_what_the_constructor_makes(tmp_path):
    maker = AnnDataMaker(INFO)
    for start in range(0, 30, 10):
        batch = cells(10, start=start)
        adata = batch.to_anndata(maker)
        expected = plainly(batch)
        assert_same(adata, expected)
        assert_same(adata[2:5, ["g1", "g0"]].copy(), expected[2:5, ["g1", "g0"]].copy())
        adata.layers["counts"] = adata.X.copy()
        adata.obsm["pca"] = np.zeros((10, 2))
        adata.varm["loadings"] = np.zeros((5, 2))
        adata.write_h5ad(tmp_path / "x.h5ad")
        again = ad.read_h5ad(tmp_path / "x.h5ad")
        assert again.shape == (10, 5)
        assert again.var_names.tolist() == INFO.var_names.tolist()
        assert_same(pickle.loads(pickle.dumps(adata)), expected)
        assert ad.concat([adata, adata], index_unique="-").shape == (20, 5)


def test_objects_do_not_change_one_another():
    maker = AnnDataMaker(INFO)
    one, two, three = (cells(4, start=n).to_anndata(maker) for n in range(3))
    for adata in (one, two):
        adata.var["chosen"] = True
        adata.var.index.name = "gene"
        adata.var_names = [f"other{i}" for i in range(5)]
        adata.obs["line"] = adata.obs["line"].cat.rename_categories({"a": "z"})
        adata.obs["stage"] = adata.obs["stage"].cat.as_unordered()
        adata.obs_names = list("wxyz")
        adata.uns["key"] = 1
    later = cells(4, start=3)
    for adata, batch in ((three, cells(4, start=2)), (later.to_anndata(maker), later)):
        assert_same(adata, plainly(batch))
        assert adata.var.index.name is None
        assert len(adata.uns) == 0


def test_objects_of_another_number_of_genes_are_refused():
    maker = AnnDataMaker(INFO)
    cells(4).to_anndata(maker)
    narrow = cells(4).replace(X=np.zeros((4, 3)))
    with pytest.raises(ValueError, match="var"):
        narrow.to_anndata(maker)


def test_indices_and_labels_are_made_once(plates, monkeypatch):
    source = scd.open(str(plates / "*.h5ad"), obs=["drug", "cell_line"])
    loader = Loader(source, BlockShuffling(8), batch_size=50, output="anndata")
    n_made = 0
    real = pd.CategoricalDtype.__init__

    def counting(self, categories=None, ordered=False):
        nonlocal n_made
        n_made += isinstance(categories, list)
        real(self, categories, ordered)

    monkeypatch.setattr(pd.CategoricalDtype, "__init__", counting)
    batches = list(loader) + list(loader.shard())
    assert len(batches) == 48
    assert n_made == 2
    genes = {id(batch.var_names._cache) for batch in batches[1:]}
    assert len(genes) == 1


def test_a_loader_of_anndata_pickles(plates):
    source = scd.open(str(plates / "plate1.h5ad"), obs=["drug"])
    loader = Loader(source, batch_size=50, output="anndata")
    first = next(iter(loader))
    assert_same(next(iter(pickle.loads(pickle.dumps(loader)).shard())), first)
