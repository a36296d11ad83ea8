"""Several arrays and modalities side by side."""

import json
import pickle

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from tests.sources.small_cells import dense_of, make_full_parts

ARRAYS = ["X", "layers/counts", "obsm/X_pca", "raw/X"]


def dense(x, n_vars):
    if not isinstance(x, dict):
        return x.toarray() if sp.issparse(x) else x
    out = np.zeros((len(x["length"]), n_vars), x["values"].dtype)
    for row, length in enumerate(x["length"]):
        out[row, x["indices"][row, :length]] = x["values"][row, :length]
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    for i, part in enumerate(make_full_parts()):
        part.write_h5ad(folder / f"part{i}.h5ad")
    return sorted(folder.glob("*.h5ad"))


@pytest.fixture(scope="module")
def wanted():
    parts = make_full_parts()
    x = np.concatenate([part.X.toarray() for part in parts])
    return {
        "X": x,
        "layers/counts": x * 3,
        "obsm/X_pca": x[:, :3].astype(np.float64) + 0.5,
        "raw/X": x,
    }


class TestArrays:
    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, files):
        return scd.open(files, x=ARRAYS, obs=["line", "number"])

    def test_shape_and_parts(self, source):
        assert source.shape == (100, 11)
        assert list(source.parts) == ARRAYS
        assert source.parts["obsm/X_pca"].shape == (100, 3)
        assert source.parts["obsm/X_pca"].var_names.tolist() == [
            "X_pca1",
            "X_pca2",
            "X_pca3",
        ]
        assert len(source.files) == 3
        assert "layers/counts: 11 columns, sparse float32" in repr(source)
        assert source.block_starts is not None

    @pytest.mark.parametrize("output", [None, "csr", "dense", "padded"])
    @pytest.mark.parametrize("dtype", [None, np.float64])
    def test_every_array_is_of_the_same_cells(self, source, wanted, output, dtype):
        loader = scd.Loader(
            source, batch_size=16, fetch_factor=3, output=output, dtype=dtype
        )
        seen = []
        for batch in loader:
            rows = batch["index"][batch["index"] >= 0]
            seen.extend(rows.tolist())
            assert list(batch["X"]) == ARRAYS
            np.testing.assert_array_equal(batch["obs"]["number"][: len(rows)], rows)
            for name, x in batch["X"].items():
                got = dense(x, wanted[name].shape[1])[: len(rows)]
                np.testing.assert_array_equal(got, wanted[name][rows])
                if dtype is not None:
                    assert got.dtype == dtype
                if output == "padded":
                    assert len(x["length"]) == 16
        assert sorted(seen) == list(range(100))

    def test_as_stored_each_keeps_its_own_form(self, source):
        x = source.read([0, 1])["X"]
        assert sp.issparse(x["X"])
        assert isinstance(x["obsm/X_pca"], np.ndarray)

    def test_width_by_name(self, source):
        loader = scd.Loader(
            source, batch_size=8, output="padded", width={"X": 11, "obsm/X_pca": 4}
        )
        x = next(iter(loader))["X"]
        widths = {name: part["values"].shape[1] for name, part in x.items()}
        assert widths == {
            "X": 11,
            "layers/counts": 128,
            "obsm/X_pca": 4,
            "raw/X": 128,
        }
        with pytest.raises(scd.MissingNameError, match=r'"layers/count".*did you mean'):
            scd.Loader(source, output="padded", width={"layers/count": 3})

    def test_width_by_name_of_a_single_array(self, files):
        with pytest.raises(TypeError, match="goes with several arrays"):
            scd.Loader(scd.open(files), output="padded", width={"X": 11})

    def test_memory_counts_all_arrays(self, source, files):
        one = scd.Loader(scd.open(files), batch_size=4, memory="64KB")
        many = scd.Loader(source, batch_size=4, memory="64KB")
        assert many.fetch_factor < one.fetch_factor / 2

    def test_anndata_puts_each_in_its_place(self, files, wanted):
        source = scd.open(files, x=ARRAYS, obs=["line"], obs_names=True)
        adata = source.read([3, 50]).to_anndata()
        rows = [3, 50]
        np.testing.assert_array_equal(adata.X.toarray(), wanted["X"][rows])
        counts = adata.layers["counts"].toarray()
        np.testing.assert_array_equal(counts, wanted["layers/counts"][rows])
        np.testing.assert_array_equal(adata.obsm["X_pca"], wanted["obsm/X_pca"][rows])
        assert adata.obsm["raw"].shape == (2, 11)
        assert adata.obs_names.tolist() == ["cell3", "cell50"]

    def test_genes_select_in_arrays_of_genes(self, files, wanted):
        source = scd.open(files, x=ARRAYS, genes=["gene5", "gene0"])
        x = source.read([0, 99])["X"]
        for name in ARRAYS:
            want = wanted[name][[0, 99]]
            want = want if name == "obsm/X_pca" else want[:, [5, 0]]
            np.testing.assert_array_equal(dense(x[name], 0), want)

    def test_of_an_object(self, wanted):
        source = scd.open(make_full_parts()[0], x=["obsm/X_pca", "X"], obs=["number"])
        assert source.shape == (37, 3)
        cells = source.read([0, 5])
        np.testing.assert_array_equal(
            cells["X"]["obsm/X_pca"], wanted["obsm/X_pca"][[0, 5]]
        )
        assert cells["obs"]["number"].tolist() == [0, 5]

    def test_hooks_are_given_all_arrays(self, source, wanted):
        loader = scd.Loader(
            source,
            batch_size=16,
            output="dense",
            fetch_callback=lambda source, rows: source.read(rows),
            batch_transform=lambda batch: {**batch, "sum": batch["X"]["X"].sum(1)},
        )
        for batch in loader:
            want = wanted["X"][batch["index"]].sum(1)
            np.testing.assert_array_equal(batch["sum"], want)
            assert isinstance(batch["X"]["layers/counts"], np.ndarray)

    def test_pickles_and_resumes(self, source):
        loader = scd.Loader(source, batch_size=16, fetch_factor=2)
        iterator = iter(loader)
        next(iterator)
        state = json.loads(json.dumps(loader.state_dict()))
        rest = [batch["index"].tolist() for batch in iterator]
        again = pickle.loads(
            pickle.dumps(scd.Loader(source, batch_size=16, fetch_factor=2))
        )
        again.load_state_dict(state)
        assert [batch["index"].tolist() for batch in again] == rest

    @pytest.mark.parametrize("x", [["X", "X"], []], ids=["twice", "none"])
    def test_wrong_lists_are_refused(self, files, x):
        with pytest.raises(ValueError, match="x must name different matrices"):
            scd.open(files, x=x)

    def test_a_missing_array_is_named(self, files):
        with pytest.raises(scd.MissingNameError, match=r'"obsm/X_pc".*did you mean'):
            scd.open(files, x=["X", "obsm/X_pc"])


class TestMultiIndexable:
    def test_of_objects(self, wanted):
        adata = make_full_parts()[0]
        protein = np.arange(37 * 4).reshape(37, 4)
        multi = scd.MultiIndexable(rna=adata, protein=protein)
        source = scd.open(multi, obs=["line", "number"])
        assert list(source.parts) == ["rna", "protein"]
        cells = source.read([1, 1, 30], [2, 0, 1])
        assert cells["index"].tolist() == [1, 30, 1]
        np.testing.assert_array_equal(cells["X"]["protein"], protein[[1, 30, 1]])
        np.testing.assert_array_equal(
            dense_of(cells["X"]["rna"]), wanted["X"][[1, 30, 1]]
        )
        assert cells["obs"]["number"].tolist() == [1, 30, 1]

    def test_of_sources_with_genes_of_their_own(self, files, wanted):
        rna = scd.open(files, obs=["number"], genes=["gene3"])
        counts = scd.open(files, x="layers/counts")
        source = scd.open(scd.MultiIndexable(rna, counts), obs=["number"])
        x = source.read([7, 80])["X"]
        assert list(x) == ["0", "1"]
        np.testing.assert_array_equal(x["0"].toarray(), wanted["X"][[7, 80]][:, [3]])
        adata = source.read([7, 80]).to_anndata()
        assert adata.obsm["1"].shape == (2, 11)

    def test_genes_for_all_are_refused(self):
        multi = scd.MultiIndexable(a=np.ones((3, 2)), b=np.ones((3, 2)))
        with pytest.raises(ValueError, match="genes goes with one matrix"):
            scd.open(multi, genes=[0])

    def test_labels_a_source_was_not_opened_with(self, files):
        multi = scd.MultiIndexable(rna=scd.open(files, obs=["line"]))
        with pytest.raises(scd.MissingNameError, match='carry the obs column "number"'):
            scd.open(multi, obs=["number"])

    @pytest.mark.parametrize("opened", [False, True])
    def test_collections_that_disagree_in_cells_are_refused(self, opened, tmp_path):
        one, other = make_full_parts()[0], make_full_parts()[0]
        other.obs_names = [*other.obs_names[:5], *other.obs_names[5:][::-1]]
        if opened:
            for name, part in (("one", one), ("other", other)):
                part.write_h5ad(tmp_path / f"{name}.h5ad")
            one = scd.open(tmp_path / "one.h5ad", obs_names=True)
            other = scd.open(tmp_path / "other.h5ad", obs_names=True)
        with pytest.raises(
            ValueError, match='row 5 is the cell cell5 in "rna" and cell3'
        ):
            scd.open(scd.MultiIndexable(rna=one, protein=other))

    def test_cells_without_names_agree_with_any(self):
        unnamed = ad.AnnData(np.ones((37, 2), np.float32))
        multi = scd.MultiIndexable(
            rna=make_full_parts()[0], other=unnamed, more=unnamed.X
        )
        assert len(scd.open(multi)) == 37

    def test_several_in_one_are_refused(self, files):
        both = scd.open(files, x=["X", "raw/X"])
        with pytest.raises(ValueError, match='"a" is several arrays itself'):
            scd.open(scd.MultiIndexable(a=both))
