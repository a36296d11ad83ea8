"""Objects in memory as sources."""

import os
import pickle
from collections import deque

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from tests.sources.contract import SourceContract
from tests.sources.small_cells import make_parts


class TestAnnData(SourceContract):
    has_block_starts = False
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        whole = ad.concat(parts)
        whole.obs["line"] = whole.obs["line"].astype(parts[0].obs["line"].dtype)
        return whole

    # AnnData's own use of pandas in concat.
    pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")


class TestAnnDataDense(TestAnnData):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        whole = super().write(folder, parts)
        whole.X = whole.X.toarray()
        return whole


class TestAnnDataView(TestAnnData):
    @classmethod
    def write(cls, folder, parts):
        return super().write(folder, parts)[:]


RNG = np.random.default_rng(0)
DENSE = RNG.integers(0, 5, (40, 6)).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.asfortranarray,
        lambda x: x.astype(">f4"),
        sp.csr_matrix,
        sp.csr_array,
    ],
    ids=["array", "fortran", "big_endian", "csr_matrix", "csr_array"],
)
@pytest.mark.parametrize("genes", [None, [4, 1]], ids=["all", "some"])
def test_arrays(make, genes):
    source = scd.open(make(DENSE), genes=genes)
    rows = np.array([0, 3, 3, 39])
    x = source.read(rows, [3, 1, 0, 2])["X"]
    got = x.toarray() if sp.issparse(x) else x
    want = DENSE[[3, 3, 39, 0]]
    np.testing.assert_array_equal(got, want if genes is None else want[:, genes])
    assert got.dtype == np.float32
    assert got.dtype.isnative
    assert source.var_names.tolist() == (["4", "1"] if genes else list("012345"))
    assert source.block_starts is None
    assert source.files == ()


def test_a_memory_map_pickles_as_its_path(tmp_path):
    np.save(tmp_path / "x.npy", DENSE)
    source = scd.open(np.load(tmp_path / "x.npy", mmap_mode="r"))
    sent = pickle.dumps(source)
    assert len(sent) < 3000
    copy = pickle.loads(sent)
    np.testing.assert_array_equal(copy.read([1, 5])["X"], DENSE[[1, 5]])
    part = scd.open(np.load(tmp_path / "x.npy", mmap_mode="r")[10:20])
    copy = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(copy.read([0, 9])["X"], DENSE[[10, 19]])


def test_a_memory_map_of_a_file_that_was_replaced(tmp_path):
    """Another process would map other values."""
    path = tmp_path / "x.npy"
    np.save(path, DENSE)
    source = scd.open(np.load(path, mmap_mode="r"))
    np.save(tmp_path / "new.npy", DENSE + 1)
    os.utime(tmp_path / "new.npy", (0, 0))
    (tmp_path / "new.npy").replace(path)
    with pytest.raises(scd.FileChangedError, match=r"x\.npy changed since it was"):
        pickle.loads(pickle.dumps(source))


def test_batches_do_not_look_into_the_array():
    x = DENSE.copy()
    cells = scd.open(x).read([1, 2])
    x[:] = -1
    np.testing.assert_array_equal(cells["X"], DENSE[[1, 2]])


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        pytest.param(np.arange(3), ValueError, "of shape \\(3,\\), expected", id="1d"),
        pytest.param(np.array([["a"]]), ValueError, "expected numbers", id="text"),
        pytest.param(
            sp.csc_matrix(DENSE), ValueError, "stored as CSC.*tocsr", id="csc"
        ),
        pytest.param(sp.coo_array(DENSE), ValueError, "stored as COO.*tocsr", id="coo"),
        pytest.param(7, TypeError, "takes a path, a glob.*got int", id="number"),
        pytest.param([1, 2], TypeError, "takes a path, a glob.*got list", id="numbers"),
        pytest.param(b"a.h5ad", TypeError, "must be text, got b'a.h5ad'", id="bytes"),
        pytest.param([], ValueError, "an empty list of paths", id="nothing"),
    ],
)
def test_what_is_no_matrix_is_refused(data, error, match):
    with pytest.raises(error, match=match):
        scd.open(data)


def test_an_array_has_no_layers_and_no_obs():
    with pytest.raises(ValueError, match='an array has no "layers/x"'):
        scd.open(DENSE, x="layers/x")
    with pytest.raises(ValueError, match="an array has no obs"):
        scd.open(DENSE, obs=["line"])


def test_column_ids_of_a_matrix_are_checked():
    x = sp.csr_array(DENSE)
    x.indices[5] = 77
    row = int(np.searchsorted(x.indptr, 5, side="right")) - 1
    with pytest.raises(
        ValueError, match=f"row {row} of X has column 77, and there are 6"
    ):
        scd.open(x).read(np.arange(40))


@pytest.mark.parametrize("pointer", [-1, 10**6, 0])
def test_row_pointers_of_a_matrix_are_checked(pointer):
    x = sp.csr_array(DENSE)
    source = scd.open(x)
    x.indptr[7] = pointer
    with pytest.raises(ValueError, match=r"row pointers \(indptr\) are wrong"):
        source.read(np.arange(40))


class TestAnnDataParts:
    @pytest.fixture
    def adata(self):
        part = make_parts()[0]
        part.layers["twice"] = part.X * 2
        part.obsm["X_pca"] = RNG.random((part.n_obs, 3))
        part.obsm["table"] = pd.DataFrame({"u": 1.0, "v": 2.0}, index=part.obs_names)
        part.raw = part
        return part

    @pytest.mark.parametrize(
        ("x", "names"),
        [
            ("layers/twice", "gene0"),
            ("raw/X", "gene0"),
            ("obsm/X_pca", "X_pca1"),
            ("obsm/table", "u"),
        ],
    )
    def test_every_matrix(self, adata, x, names):
        folder, _, name = x.partition("/")
        want = adata.raw.X if folder == "raw" else getattr(adata, folder)[name]
        source = scd.open(adata, x=x)
        got = source.read(np.arange(len(source)))["X"]
        got = got.toarray() if sp.issparse(got) else got
        want = want.toarray() if sp.issparse(want) else np.asarray(want)
        np.testing.assert_array_equal(got, want)
        assert source.var_names[0] == names

    @pytest.mark.parametrize(
        ("x", "match"),
        [
            ("layers/twic", 'no "layers/twic"; did you mean "twice"'),
            ("obsm/umap", 'no "obsm/umap"; there are: X_pca, table'),
        ],
    )
    def test_missing_matrix(self, adata, x, match):
        with pytest.raises(scd.MissingNameError, match=match):
            scd.open(adata, x=x)

    def test_no_x_and_no_raw(self):
        adata = ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"]))
        with pytest.raises(ValueError, match="has no X"):
            scd.open(adata)
        with pytest.raises(ValueError, match='no "raw/X"'):
            scd.open(adata, x="raw/X")


class Rows:
    """An object of the user's own, which wants increasing rows."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return self.x.shape[0]

    def __getitem__(self, rows):
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)
        return self.x[rows]


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix], ids=["array", "csr"])
@pytest.mark.parametrize("genes", [None, [4, 1]], ids=["all", "some"])
def test_an_object_of_the_users_own(make, genes):
    source = scd.open(Rows(make(DENSE)), genes=genes)
    want = DENSE if genes is None else DENSE[:, genes]
    assert source.shape == want.shape
    assert source.var_names.tolist() == (["4", "1"] if genes else list("012345"))
    assert source.longest_row() == min(6, want.shape[1])
    for output in ("csr", "dense", "padded"):
        loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=9, output=output)
        for batch in pickle.loads(pickle.dumps(loader)):
            cells = want[batch["index"][batch["index"] >= 0]]
            x = batch["X"]
            if output == "padded":
                assert x["values"].sum() == cells.sum()
            else:
                assert np.array_equal(x if output == "dense" else x.toarray(), cells)
    cells = source.read([3, 3, 7], places=[2, 0, 1])
    assert cells["index"].tolist() == [3, 7, 3]
    assert "in a Rows" in repr(source)


def test_an_object_that_gives_something_else_is_refused():
    class Texts(Rows):
        def __getitem__(self, rows):
            return ["a"] * len(rows)

    class Short(Rows):
        def __getitem__(self, rows):
            return self.x[:1]

    class Pairs(Rows):
        def __getitem__(self, rows):
            return self.x[rows], 1

    with pytest.raises(
        TypeError, match=r"gives a tuple for 40 rows.*is an array or CSR"
    ):
        scd.open(Pairs(DENSE))
    with pytest.raises(ValueError, match="a Texts gives for 40 rows is <U1"):
        scd.open(Texts(DENSE))
    with pytest.raises(ValueError, match=r"a Short gave .* shape \(1, 6\) for 40 rows"):
        scd.open(Short(DENSE))
    with pytest.raises(TypeError, match="a deque does not give rows for an int64"):
        scd.open(deque([1, 2]))
    with pytest.raises(TypeError, match="got set: give a list of paths"):
        scd.open({1, 2})


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["array", "csr"])
def test_later_rows_of_an_object_have_another_type(make):
    """Values keep what they are, or it is an error: casting would cut them off."""

    class Mixed(Rows):
        def __getitem__(self, rows):
            x = self.x[rows]
            return make(x.astype(np.int32) if rows[-1] < 100 else x)

    x = np.arange(600.0).reshape(200, 3)
    x[150, 0] += 0.5
    source = scd.open(Mixed(x))
    assert source.dtype == np.int32
    read = source.read([3, 120])["X"]
    read = read if make is np.asarray else read.toarray()
    assert read.tolist() == x[[3, 120]].tolist()
    with pytest.raises(
        ValueError,
        match=r"a Mixed gave float64 for rows 3 to 150 and int32 .* hold 450\.5;",
    ):
        source.read([3, 150])


def test_later_rows_of_an_object_are_masked():
    class Masked(Rows):
        def __getitem__(self, rows):
            x = self.x[rows]
            return x if rows[-1] < 100 else np.ma.masked_greater(x, 3)

    source = scd.open(Masked(np.arange(600).reshape(200, 3)))
    with pytest.raises(scd.FileFormatError, match=r"a Masked gives .* is a mask"):
        source.read([150])
