"""What `open` takes, and what it says of files it cannot read."""

import gzip
import re

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.storage import ReadContext
from tests.sources.small_h5ad import GENES, N, ids, make, replace_row, stored

RANGED = "scdataset_core.sources.ranged"


@pytest.fixture
def path(tmp_path):
    return make(tmp_path / "a.h5ad")


class TestNotCells:
    def test_other_bytes(self, tmp_path):
        (tmp_path / "a.h5ad").write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(
            scd.FileFormatError, match=r"a\.h5ad: not a file of a format"
        ):
            scd.open(tmp_path / "a.h5ad")

    def test_nothing_in_it(self, tmp_path):
        (tmp_path / "a.h5ad").touch()
        with pytest.raises(ValueError, match=r"a\.h5ad: the file is empty"):
            scd.open(tmp_path / "a.h5ad")

    def test_a_folder(self, tmp_path):
        (tmp_path / "inside").mkdir()
        match = "not a folder of a format that is known.*none of their signatures"
        with pytest.raises(ValueError, match=match):
            scd.open(tmp_path)
        with pytest.raises(ValueError, match=r"not a folder of a format.*it is empty"):
            scd.open(tmp_path / "inside")

    def test_a_packed_file(self, path):
        packed = path.with_suffix(".h5ad.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(ValueError, match=r"a\.h5ad\.gz: not a file.*gunzip"):
            scd.open(packed)

    def test_content_counts_and_not_the_name(self, path):
        path.rename(path.with_suffix(".data"))
        assert len(scd.open(path.with_suffix(".data"))) == N

    def test_a_user_block_before_the_content(self, path, tmp_path):
        block = tmp_path / "b.h5ad"
        with (
            h5py.File(path) as source,
            h5py.File(block, "w", userblock_size=1024) as to,
        ):
            for key in source:
                source.copy(key, to)
        assert ids(scd.open(tmp_path / "b.h5ad")) == list(range(1, N + 1))

    @pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
    def test_cut_short(self, path, share):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(OSError, match=r"a\.h5ad: .*cut short"):
            scd.open(path)

    def test_hdf5_of_another_kind(self, tmp_path):
        with h5py.File(tmp_path / "a.h5ad", "w") as file:
            file["matrix/data"] = np.arange(3)
        with pytest.raises(ValueError, match=r"a\.h5ad: there is no X"):
            scd.open(tmp_path / "a.h5ad")

    def test_no_x_names_what_there_is(self, path):
        with h5py.File(path, "r+") as file:
            del file["X"]
        with pytest.raises(ValueError, match=r"no X; x= can name layers/counts"):
            scd.open(path)

    def test_x_that_anndata_wrote_as_none(self, tmp_path):
        adata = ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"]))
        adata.write_h5ad(tmp_path / "a.h5ad")
        with pytest.raises(ValueError, match="there is no X"):
            scd.open(tmp_path / "a.h5ad")

    @pytest.mark.parametrize(
        ("x", "match"),
        [
            (
                "layers/count",
                r'a\.h5ad: there is no "layers/count"; did you mean "layers/c',
            ),
            ("obsm/X_pca", r'a\.h5ad: there is no "obsm/X_pca"; there are none'),
            ("raw/X", r'a\.h5ad: there is no "raw/X"'),
        ],
    )
    def test_a_missing_matrix(self, path, x, match):
        with pytest.raises(scd.MissingNameError, match=match):
            scd.open(path, x=x)

    @pytest.mark.parametrize("x", ["layers/", "uns/x", "x", "", None, 3])
    def test_x_of_no_known_place_lists_what_there_is(self, path, x):
        match = 'x must be "X", "raw/X", "layers/NAME".*; there are: X, layers/counts'
        for given in (x, ["X", x]):
            with pytest.raises(ValueError, match=match):
                scd.open(path, x=given)
        with pytest.raises(ValueError, match=r'x must be "X", "raw/X".*NAME", got'):
            scd.open(path.with_name("not_there"), x=x)

    def test_a_layer_by_its_name_alone(self, path):
        for data in (path, ad.read_h5ad(path)):
            with pytest.raises(ValueError, match='did you mean "layers/counts"'):
                scd.open(data, x="counts")

    @pytest.mark.parametrize("inside", ["*.h5ad", "*/*.zarr"])
    def test_a_folder_of_files(self, path, inside):
        if inside == "*/*.zarr":
            path.unlink()
            (path.parent / "deep" / "a.zarr").mkdir(parents=True)
        match = rf"folder of {re.escape(inside)}; .*open\('.*/{re.escape(inside)}'\)"
        with pytest.raises(scd.FileFormatError, match=match):
            scd.open(path.parent)

    @pytest.mark.parametrize(
        ("members", "match"),
        [
            (["matrix/barcodes"], r"10x Genomics.*scanpy\.read_10x_h5\('.*/a\.h5'\)"),
            (["mm10/barcodes"], r"10x .*\.write_h5ad\('.*/a\.h5ad'\)"),
            (["row_attrs/Gene", "col_attrs/CellID"], r"loom file.*read_loom"),
            (["assays/RNA", "cell.names"], "h5Seurat file.*SeuratDisk::Convert"),
        ],
    )
    def test_files_of_other_programs(self, tmp_path, members, match):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in members:
                file[name] = np.arange(3)
        with pytest.raises(scd.FileFormatError, match=match):
            scd.open(tmp_path / "a.h5")

    def test_a_list_of_objects(self, path):
        data = [ad.read_h5ad(path), path]
        match = r"list of AnnData, PosixPath: .*concat\(\[scdataset_core\.open\(one"
        with pytest.raises(TypeError, match=match):
            scd.open(data)

    @pytest.mark.parametrize(
        ("give", "match"),
        [
            (lambda path: path.parent.glob("*"), r"no fixed order.*sorted\(Path"),
            (lambda path: {path}, "set: give a list of paths, whose order"),
            (lambda path: {"a": path}, "dict: give a list of paths"),
            (scd.open, "it is open already"),
            (lambda path: [scd.open(path)], r"sources, which .*concat\(sources\) join"),
            (
                lambda path: np.array([str(path)]),
                r"ndarray of text: .*tolist",
            ),
            (
                lambda path: pd.Series([str(path)]),
                r"column of paths .*tolist",
            ),
            (lambda path: pd.DataFrame(np.eye(3)), r"table of cells .*to_numpy\(\)"),
        ],
    )
    def test_what_is_nearly_right(self, path, give, match):
        with pytest.raises(TypeError, match=match):
            scd.open(give(path))

    def test_the_home_folder_is_not_expanded(self):
        with pytest.raises(FileNotFoundError, match="only shells take ~"):
            scd.open("~/there_is_no_such_file.h5ad")

    def test_a_file_object(self, path):
        with (
            path.open("rb") as file,
            pytest.raises(
                TypeError, match=r"file object .*give its path, open\('.*a\.h"
            ),
        ):
            scd.open(file)

    def test_a_column_given_twice(self, path):
        with pytest.raises(ValueError, match="a column twice: line; name each once"):
            scd.open(path, obs=["line", "line"])

    @pytest.mark.parametrize("legacy", [False, True])
    def test_columns_are_refused_with_the_way_out(self, path, legacy):
        with h5py.File(path, "r+") as file:
            attrs = file["layers/counts"].attrs
            if legacy:
                del attrs["encoding-type"]
                attrs["h5sparse_format"] = "csc"
            else:
                attrs["encoding-type"] = "csc_matrix"
        match = re.escape('adata.layers["counts"] = adata.layers["counts"].tocsr()')
        with pytest.raises(ValueError, match=rf"a\.h5ad.*CSC.*{match}"):
            scd.open(path, x="layers/counts")

    @pytest.mark.parametrize("x", ["X", "raw/X", "layers/counts"])
    def test_the_way_out_of_columns_leads_out(self, path, tmp_path, x):
        adata = ad.read_h5ad(path)
        want = adata.layers["counts"].toarray()
        adata.X = adata.layers["counts"] = adata.layers["counts"].tocsc()
        adata.raw = adata
        columns, rows = tmp_path / "columns.h5ad", tmp_path / "rows.h5ad"
        adata.write_h5ad(columns)
        with pytest.raises(ValueError, match="convert it once: ") as error:
            scd.open(columns, x=x)
        way_out = str(error.value).partition("convert it once: ")[2]
        exec(way_out, {"anndata": ad, "path": columns, "new_path": rows})
        got = scd.open(rows, x=x).read(range(len(want)))["X"].toarray()
        np.testing.assert_array_equal(got, want)

    def test_join_of_no_known_kind(self, path):
        with pytest.raises(ValueError, match=r"join must be .exact.*got 'left'"):
            scd.open(path, join="left")

    def test_sparse_and_dense_files(self, path, tmp_path):
        adata = ad.read_h5ad(path)
        adata.X = adata.X.toarray()
        adata.write_h5ad(tmp_path / "b.h5ad")
        match = r"X is sparse in .*a\.h5ad and dense in .*b\.h5ad"
        with pytest.raises(ValueError, match=match):
            scd.open([path, tmp_path / "b.h5ad"])

    def test_no_rows(self, tmp_path):
        make(tmp_path / "a.h5ad", n=0)
        make(tmp_path / "b.h5ad", n=4)
        source = scd.open(
            [tmp_path / "a.h5ad", tmp_path / "b.h5ad", tmp_path / "a.h5ad"]
        )
        assert ids(source) == [1, 2, 3, 4]
        np.testing.assert_array_equal(source.block_starts, [0])
        empty = scd.open(tmp_path / "a.h5ad")
        assert (len(empty), empty.longest_row(), empty.mean_stored) == (0, 0, 0)
        assert empty.read([])["X"].shape == (0, GENES)


class TestOtherFiles:
    @pytest.fixture(params=["link", "virtual", "external"])
    def leading_out(self, request, path, tmp_path):
        """Return a file whose X/data lies in another one."""
        other = make(tmp_path / "other.h5ad")
        values = stored(path, "X/data")
        with h5py.File(path, "r+") as file:
            del file["X/data"]
            if request.param == "link":
                file["X/data"] = h5py.ExternalLink("other.h5ad", "/X/data")
            elif request.param == "virtual":
                layout = h5py.VirtualLayout(values.shape, values.dtype)
                layout[:] = h5py.VirtualSource(other, "/X/data", values.shape)
                file.create_virtual_dataset("X/data", layout)
            else:
                raw = str(tmp_path / "raw")
                values.tofile(raw)
                file.create_dataset(
                    "X/data",
                    values.shape,
                    values.dtype,
                    external=[(raw, 0, values.nbytes)],
                )
        return path

    def test_are_refused_by_default(self, leading_out):
        with pytest.raises(ValueError, match=r"a\.h5ad: .*X/data.*allow_external=True"):
            scd.open(leading_out)

    def test_are_read_when_allowed(self, leading_out):
        assert ids(scd.open(leading_out, allow_external=True)) == list(range(1, N + 1))

    def test_a_link_within_the_file_is_followed(self, path):
        with h5py.File(path, "r+") as file:
            file.move("X", "matrix")
            file["X"] = h5py.SoftLink("/matrix")
        assert ids(scd.open(path)) == list(range(1, N + 1))


class TestPadded:
    def test_a_row_that_does_not_fit_is_named(self, tmp_path):
        paths = [make(tmp_path / "a.h5ad"), make(tmp_path / "b.h5ad")]
        replace_row(paths[1], 7)
        source = scd.open(paths)
        rows = np.array([3, N + 7])
        form = Form("padded", width=7)
        match = r"row 7 of .*b\.h5ad has 8 stored values and width is 7; .*largest"
        with ReadContext(1) as context, pytest.raises(ValueError, match=match):
            source.read_batches(rows, np.arange(2), np.array([0, 2]), form, context)

    def test_the_largest_are_kept(self, path):
        replace_row(path, 7)
        form = Form("padded", width=3, overflow="largest")
        with ReadContext(1) as context:
            (cells,) = scd.open(path).read_batches(
                np.array([7]), np.arange(1), np.array([0, 1]), form, context
            )
        assert cells["X"]["indices"].tolist() == [[5, 6, 7]]
        assert cells["X"]["values"].tolist() == [[6, 7, 8]]
        assert cells["X"]["length"].tolist() == [3]


class TestKept:
    """Pointers of large files are read by range; the answer is the same."""

    @pytest.mark.parametrize("gap", [1, 5, 512])
    @pytest.mark.parametrize("budget", [0, 200, 1 << 20])
    def test_any_budget(self, tmp_path, budget, gap, monkeypatch):
        monkeypatch.setattr(f"{RANGED}.row_arrays._GAP_ROWS", gap)
        monkeypatch.setattr(f"{RANGED}.stored_source.KEPT_BYTES", budget)
        monkeypatch.setattr(f"{RANGED}.row_arrays.KEPT_CODE_BYTES", budget)
        paths = [
            make(tmp_path / "a.h5ad"),
            make(tmp_path / "b.h5ad", start=N, n=40, compression="gzip"),
        ]
        source = scd.open(paths, obs=["line"])
        rng = np.random.default_rng(0)
        for n_rows in (1, 5, 50):
            rows = np.sort(rng.integers(0, len(source), n_rows))
            cells = source.read(rows)
            np.testing.assert_array_equal(cells["X"].toarray()[:, 0], rows + 1)
            np.testing.assert_array_equal(cells["obs"]["line"], rows % 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": 5}, "categories must be the labels of each column"),
        ({"categories": ["a"]}, "categories must be the labels of each column"),
        ({"categories": {"line": 5}}, "must be a list of different labels, got 5"),
        ({"categories": {"line": [[1], [1]]}}, "must be a list of different labels"),
        ({"obs": 5}, "obs must be names of columns or True, got 5"),
        ({"genes": np.array([True, False, True])}, "give np.flatnonzero"),
        ({"columns": 5}, "columns must be names of columns, got 5"),
    ],
)
def test_options_of_another_kind(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        scd.open(np.eye(3), **options)


def test_an_hdf5_file_whose_labels_are_marked_in_odd_ways(tmp_path):
    path = make(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs/line"].attrs["ordered"] = np.array([True, False])
        file["X"].attrs["shape"] = np.array([[N, GENES]])
    assert scd.open(path, obs=["line"]).categories["line"] == ["a", "b"]
