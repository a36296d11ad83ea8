"""AnnData objects that are backed, views, collections, or read lazily."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata.experimental import AnnCollection

import scdataset_core as scd
from tests.sources.contract import SourceContract
from tests.sources.small_cells import N_CELLS, make_parts

# AnnData's own use of pandas, in concat and collections.
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


def joined(parts):
    whole = ad.concat(parts)
    whole.obs["line"] = whole.obs["line"].astype(parts[0].obs["line"].dtype)
    return whole


def written(parts, folder):
    for i, part in enumerate(parts):
        part.write_h5ad(folder / f"part{i}.h5ad")
    return [folder / f"part{i}.h5ad" for i in range(len(parts))]


class TestBacked(SourceContract):
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        joined(parts).write_h5ad(folder / "whole.h5ad")
        return ad.read_h5ad(folder / "whole.h5ad", backed="r")


class TestBackedView(SourceContract):
    """Rows of a file that holds more, and in another order."""

    has_block_starts = False
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        more = parts[0][:5].copy()
        more.obs_names = [f"more{i}" for i in range(5)]
        whole = joined([*parts, more])
        order = np.random.default_rng(3).permutation(len(whole))
        whole[order].copy().write_h5ad(folder / "whole.h5ad")
        back = np.argsort(order)[: len(whole) - 5]
        return ad.read_h5ad(folder / "whole.h5ad", backed="r")[back]

    def test_longest_row_and_mean(self, source, whole):
        # Those of the whole file, of which the view is most.
        assert source.longest_row() >= max(np.diff(whole.X.indptr))
        assert source.mean_stored == pytest.approx(np.diff(whole.X.indptr).mean(), 0.1)


class TestCollectionBacked(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        files = written(parts, folder)
        return AnnCollection([ad.read_h5ad(file, backed="r") for file in files])


class TestCollectionInMemory(SourceContract):
    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        return AnnCollection(parts)


class TestCollectionMixedWithoutJoinedObs(SourceContract):
    """One member in its file, one in memory, one a view; labels looked up in each."""

    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        files = written(parts, folder)
        backed = [ad.read_h5ad(file, backed="r") for file in files]
        return AnnCollection([backed[0], parts[1], backed[2][:]], join_obs=None)


class TestCollectionView(SourceContract):
    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        files = written([parts[2], parts[0], parts[1]], folder)
        whole = AnnCollection([ad.read_h5ad(file, backed="r") for file in files])
        return whole[np.roll(np.arange(len(whole)), -13)]


class TestLazy(SourceContract):
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        pytest.importorskip("xarray")
        pytest.importorskip("dask")
        joined(parts).write_h5ad(folder / "whole.h5ad")
        return ad.experimental.read_lazy(folder / "whole.h5ad")


@pytest.fixture
def backed(tmp_path):
    part = make_parts()[0]
    part.raw = part
    part.layers["twice"] = part.X * 2
    part.write_h5ad(tmp_path / "part.h5ad")
    return ad.read_h5ad(tmp_path / "part.h5ad", backed="r")


def x_of(source, rows=None):
    x = source.read(np.arange(len(source)) if rows is None else rows)["X"]
    return x.toarray() if sp.issparse(x) else x


class TestWhatAnObjectHolds:
    def test_a_backed_object_is_read_from_its_file(self, backed):
        source = scd.open(backed)
        assert source.files == (str(backed.filename),)
        assert source.fingerprint == scd.open(backed.filename).fingerprint

    def test_changed_labels_and_names_are_those_of_the_object(self, backed):
        backed.obs["line"] = backed.obs["line"].cat.rename_categories({"A549": "x"})
        backed.obs["new"] = np.arange(backed.n_obs)
        backed.var_names = [f"other{i}" for i in range(backed.n_vars)]
        source = scd.open(backed, obs=["line", "new"], genes=["other3", "other0"])
        assert source.categories["line"] == ["MCF7", "x", "HCT15"]
        np.testing.assert_array_equal(source.obs["new"], np.arange(backed.n_obs))
        np.testing.assert_array_equal(x_of(source)[:, 1], np.arange(backed.n_obs) + 1)

    def test_a_replaced_layer_is_that_of_the_object(self, backed):
        backed.layers["twice"] = sp.csr_matrix(backed.to_memory().X * 5)
        want = backed.to_memory().X.toarray() * 5
        np.testing.assert_array_equal(x_of(scd.open(backed, x="layers/twice")), want)

    def test_what_is_written_through_the_object_is_read(self, backed):
        backed.file.close()
        writable = ad.read_h5ad(backed.filename, backed="r+")
        writable.X = sp.csr_matrix(np.full(writable.shape, 3, np.float32))
        np.testing.assert_array_equal(x_of(scd.open(writable)), 3)
        writable.file.close()

    def test_a_closed_object_is_read_again(self, backed):
        want = backed.to_memory().X.toarray()
        backed.file.close()
        np.testing.assert_array_equal(x_of(scd.open(backed)), want)

    def test_a_file_replaced_since_is_refused(self, backed, tmp_path):
        make_parts()[0].write_h5ad(tmp_path / "other.h5ad")
        (tmp_path / "other.h5ad").replace(backed.filename)
        with pytest.raises(
            scd.FileChangedError, match=r"was replaced since.*read_h5ad"
        ):
            scd.open(backed)

    @pytest.mark.parametrize("x", ["X", "raw/X", "layers/twice"])
    @pytest.mark.parametrize(
        "genes", [None, ["gene4", "gene9"], [1, 0]], ids=["all", "names", "positions"]
    )
    @pytest.mark.parametrize(
        "index",
        [
            pytest.param((slice(None, None, 3), slice(None)), id="every_third"),
            pytest.param((slice(5, 20), slice(3, 11)), id="part_of_the_genes"),
            pytest.param(([7, 2, 9], [9, 4, 5]), id="in_another_order"),
            pytest.param((slice(None), ["gene9", "gene4"]), id="by_name"),
        ],
    )
    def test_a_view_gives_its_rows_and_genes(self, backed, index, genes, x):
        view, memory = backed[index], backed.to_memory()[index].copy()
        source = scd.open(view, x=x, genes=genes, obs=["number", "line"])
        want = scd.open(memory, x=x, genes=genes, obs=["number", "line"])
        assert source.var_names.tolist() == want.var_names.tolist()
        np.testing.assert_array_equal(x_of(source), x_of(want))
        np.testing.assert_array_equal(source.obs["number"], memory.obs["number"])
        assert source.categories == want.categories

    def test_a_view_that_repeats_genes_is_refused(self, backed):
        with pytest.raises(ValueError, match=r"view of .* that repeats genes"):
            scd.open(backed[:, [0, 0]])


def test_a_file_open_for_writing_is_refused_by_its_path(backed):
    path = backed.filename
    backed.file.close()
    writer = ad.read_h5ad(path, backed="r+")
    with pytest.raises(ValueError, match=r"open for writing in this process.*close it"):
        scd.open(path)
    writer.file.close()
    assert len(scd.open(path)) == N_CELLS[0]


def test_a_file_that_was_removed_is_named(backed):
    backed.filename.unlink()
    with pytest.raises(OSError, match="was removed since it was opened"):
        scd.open(backed)


def test_a_masked_array_is_refused():
    part = make_parts()[0]
    part.X = np.ma.masked_array(part.X.toarray(), mask=part.X.toarray() > 3)
    with pytest.raises(ValueError, match=r"masked array.*filled\(0\)"):
        scd.open(part)


class TestWhatACollectionHolds:
    def test_text_of_backed_members_stays_with_its_member(self, tmp_path):
        parts = [make_parts()[0] for _ in range(3)]
        for name, part in zip("abc", parts, strict=True):
            part.obs_names = [f"{name}{i}" for i in range(part.n_obs)]
        members = [ad.read_h5ad(f, backed="r") for f in written(parts, tmp_path)]
        rng, want = np.random.default_rng(0), []
        for name, member in zip("abc", members, strict=True):
            labels = [f"{name}{i}" for i in rng.integers(0, 4, member.n_obs)]
            # Categories that differ come together as text.
            member.obs["plate"] = pd.Categorical(labels)
            want += labels
        source = scd.open(AnnCollection(members), obs=["plate"])
        spoken = np.array(source.categories["plate"])[source.obs["plate"]]
        np.testing.assert_array_equal(spoken, want)

    @pytest.fixture
    def members(self, tmp_path):
        parts = make_parts()
        parts[1] = parts[1][:, ::-1].copy()
        parts[2] = parts[2][:, 1:].copy()
        for part in parts:
            part.layers["twice"] = part.X * 2
        files = written(parts, tmp_path)
        return [ad.read_h5ad(file, backed="r") for file in files]

    @pytest.mark.parametrize("in_memory", [False, True])
    @pytest.mark.parametrize("x", ["X", "layers/twice"])
    @pytest.mark.parametrize("genes", [None, [3, 1], ["gene5", "gene2"]])
    def test_genes_are_those_of_the_collection(self, members, in_memory, genes, x):
        if in_memory:
            members = [member.to_memory() for member in members]
        whole = AnnCollection(members, join_vars="inner")
        view = whole[np.array([90, 3, 40, 41]), ["gene5", "gene2", "gene9", "gene1"]]
        for obj, rows in ((whole, [90, 3, 40, 41]), (view, [0, 1, 2, 3])):
            source = scd.open(obj, genes=genes, x=x)
            wanted = obj.var_names
            if genes is not None:
                wanted = [wanted[g] if isinstance(g, int) else g for g in genes]
            assert source.var_names.tolist() == list(wanted)
            columns = [list(obj.var_names).index(name) for name in wanted]
            held = whole[np.array([90, 3, 40, 41])]
            names = list(whole.var_names)
            dense = held.X.toarray() * (2 if x != "X" else 1)
            want = dense[:, [names.index(obj.var_names[c]) for c in columns]]
            places = np.argsort(np.argsort(rows))
            got = source.read(np.sort(rows), np.argsort(rows))["X"].toarray()
            assert len(places) == 4
            np.testing.assert_array_equal(got, want)

    def test_label_and_names(self):
        whole = AnnCollection(
            dict(zip("abc", make_parts(), strict=True)),
            label="plate",
            index_unique="-",
            join_obs=None,
        )
        source = scd.open(whole, obs=["plate", "line"], obs_names=True)
        cells = source.read([0, 40, 99]).to_anndata()
        assert cells.obs["plate"].tolist() == ["a", "b", "c"]
        assert cells.obs_names.tolist() == ["cell0-a", "cell40-b", "cell99-c"]

    def test_convert_functions_are_not_ignored(self):
        whole = AnnCollection(make_parts(), convert=lambda x: x)
        with pytest.raises(ValueError, match=r"convert functions.*batch_transform"):
            scd.open(whole)


class TestWhatALazyObjectHolds:
    @pytest.fixture(scope="class", params=["h5ad", "zarr"])
    @classmethod
    def path(cls, request, tmp_path_factory):
        pytest.importorskip("xarray")
        pytest.importorskip("dask")
        pytest.importorskip("zarr")
        part = make_parts()[0]
        part.raw = part
        part.layers["twice"] = part.X.toarray() * 2
        part.obsm["X_pca"] = part.X.toarray()[:, :3]
        path = tmp_path_factory.mktemp("lazy") / f"part.{request.param}"
        with warnings.catch_warnings():
            # Of AnnData's, on what its next version writes by default.
            warnings.simplefilter("ignore")
            getattr(part, f"write_{request.param}")(path)
        return path

    @pytest.fixture
    def lazy(self, path):
        return ad.experimental.read_lazy(path)

    @pytest.mark.parametrize("x", ["X", "raw/X", "layers/twice", "obsm/X_pca"])
    def test_every_matrix_is_read_from_its_file(self, lazy, x):
        part = make_parts()[0].X.toarray()
        want = {"layers/twice": part * 2, "obsm/X_pca": part[:, :3]}.get(x, part)
        source = scd.open(lazy, x=x, obs=["line"], obs_names=True)
        assert len(source.files) == 1
        np.testing.assert_array_equal(x_of(source), want)
        view = scd.open(lazy[[7, 2, 9], [1, 0]], x=x, obs=["number"])
        want = want[[7, 2, 9]]
        if x in ("X", "layers/twice"):
            want = want[:, [1, 0]]
        np.testing.assert_array_equal(x_of(view), want)
        assert view.obs["number"].tolist() == [7, 2, 9]

    def test_another_matrix_put_in_its_place_is_honoured(self, lazy):
        lazy.layers["twice"] = lazy.X
        want = make_parts()[0].X.toarray()
        np.testing.assert_array_equal(x_of(scd.open(lazy, x="layers/twice")), want)

    def test_a_matrix_computed_on_is_refused(self, lazy):
        lazy.X = lazy.X * 2
        with pytest.raises(
            ValueError, match=r"something was computed on it.*to_memory"
        ):
            scd.open(lazy)


def test_booleans_and_numbers_that_pandas_holds_in_arrow():
    pytest.importorskip("pyarrow")
    columns = {
        "passed": pd.array([True, False, True], dtype="bool[pyarrow]"),
        "gone": pd.array([True, None, False], dtype="bool[pyarrow]"),
        "number": pd.array([1, None, 3], dtype="int64[pyarrow]"),
    }
    obs = pd.DataFrame(columns, index=["a", "b", "c"])
    source = scd.open(ad.AnnData(np.zeros((3, 1)), obs=obs), obs=True)
    assert source.obs["passed"].dtype == bool
    assert source.obs["passed"].tolist() == [True, False, True]
    np.testing.assert_array_equal(source.obs["gone"], [1, np.nan, 0])
    np.testing.assert_array_equal(source.obs["number"], [1, np.nan, 3])
