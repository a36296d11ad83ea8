"""Files that contradict themselves, or whose own structure is damaged."""

import threading

import anndata as ad
import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.storage import ReadContext
from tests.sources.small_h5ad import GENES, N, make, replace, stored


@pytest.fixture
def path(tmp_path):
    return make(tmp_path / "a.h5ad")


class TestContradictions:
    @pytest.mark.parametrize(
        ("name", "change", "match"),
        [
            pytest.param(
                "X/indptr", lambda a: a[:-1], "and 30 row pointers", id="rows"
            ),
            pytest.param("X/data", lambda a: a[:-1], "X/indices", id="lengths"),
            pytest.param(
                "X/data", lambda a: a.astype("S"), "vector of numbers", id="text"
            ),
            pytest.param(
                "X/indices",
                lambda a: a.astype(float),
                "vector of integers",
                id="floats",
            ),
            pytest.param("var/_index", lambda a: a[:-1], "var names 7 genes", id="var"),
            pytest.param(
                "obs/_index", lambda a: a[:-1], "obs names 29 cells", id="obs"
            ),
        ],
    )
    def test_seen_when_opened(self, path, name, change, match):
        dtype = h5py.string_dtype() if "index" in name and "_" in name else None
        replace(path, name, change(stored(path, name)), dtype=dtype)
        with pytest.raises(ValueError, match=rf"a\.h5ad: .*{match}"):
            scd.open(path)

    @pytest.mark.parametrize("kept", [True, False], ids=["kept", "by_range"])
    @pytest.mark.parametrize("chunks", [None, (4,)], ids=["contiguous", "chunked"])
    @pytest.mark.parametrize(
        ("at", "value", "match"),
        [
            pytest.param(12, 1, "row 11 starts at .* and ends at 1, ", id="falling"),
            pytest.param(0, -5, "row 0 starts at -5, ", id="negative"),
            pytest.param(0, 1, "row 0 starts at 1, ", id="not_from_0"),
            pytest.param(29, 10**6, "row 29 starts at .* ends at 126, ", id="beyond"),
        ],
    )
    def test_row_pointers(self, path, at, value, match, chunks, kept, monkeypatch):
        if not kept:
            ranged = "scdataset_core.sources.ranged"
            monkeypatch.setattr(f"{ranged}.row_arrays._GAP_ROWS", 1)
            monkeypatch.setattr(f"{ranged}.stored_source.KEPT_BYTES", 0)
        pointers = stored(path, "X/indptr")
        pointers[at] = value
        replace(path, "X/indptr", pointers, chunks=chunks)
        source = scd.open(path)
        whole = rf"a\.h5ad: /?X/indptr is wrong: {match}and there are \d+ stored"
        with pytest.raises(scd.CorruptFileError, match=whole):
            source.read([0, 11, 12, 29])
        with pytest.raises(scd.CorruptFileError, match=whole):
            source.longest_row()

    @pytest.mark.parametrize("value", [-1, 0, 125, 127, 10**6])
    def test_the_end_of_row_pointers_is_seen_when_opened(self, path, value):
        pointers = stored(path, "X/indptr")
        pointers[30] = value
        replace(path, "X/indptr", pointers)
        match = rf"indptr .int32. ends at {value}, and there are 126 stored"
        with pytest.raises(scd.CorruptFileError, match=match):
            scd.open(path)

    @pytest.mark.parametrize("dtype", ["i4", "i8", "u2", "u8"])
    @pytest.mark.parametrize("value", [GENES, -1], ids=["too_large", "negative"])
    @pytest.mark.parametrize(
        "form",
        [Form("csr"), Form("dense"), Form("padded", width=8)],
        ids=lambda form: form.output,
    )
    @pytest.mark.parametrize("genes", [None, [3, 0]], ids=["all", "some"])
    def test_column_ids(self, path, dtype, value, form, genes):
        columns, pointers = stored(path, "X/indices"), stored(path, "X/indptr")
        columns = columns.astype("i8")
        columns[pointers[17]] = value
        replace(path, "X/indices", columns.astype(dtype))
        source = scd.open(path, genes=genes)
        match = r"a\.h5ad: /?X/indices has column -?\d+ in row 17, and there are 8 col"
        rows = np.array([3, 17, 20])
        with ReadContext(2) as context:
            with pytest.raises(scd.CorruptFileError, match=match):
                source.read_batches(
                    rows, np.array([2, 0, 1]), np.array([0, 2, 3]), form, context
                )
            rows = np.array([3, 16, 18])
            source.read_batches(
                rows, np.array([2, 0, 1]), np.array([0, 2, 3]), form, context
            )

    def test_column_ids_of_files_with_different_genes(self, path, tmp_path):
        small = ad.read_h5ad(path)[:, :5].copy()
        small.write_h5ad(tmp_path / "b.h5ad")
        columns = stored(tmp_path / "b.h5ad", "X/indices")
        pointers = stored(tmp_path / "b.h5ad", "X/indptr")
        columns[pointers[4]] = 6  # there is such a column in the other file
        replace(tmp_path / "b.h5ad", "X/indices", columns)
        source = scd.open([path, tmp_path / "b.h5ad"], join="outer")
        match = r"b\.h5ad: /?X/indices has column 6 in row 4, and there are 5 columns"
        with pytest.raises(scd.CorruptFileError, match=match):
            source.read([2, N + 4])
        assert source.read([2, N + 3])["X"].shape == (2, GENES)

    def test_a_file_that_changed_since(self, path):
        source = scd.open(path, obs=["line"])
        source.read([0, 1])
        make(path, n=12, compression="gzip")
        with pytest.raises(scd.FileChangedError, match=r"a\.h5ad changed since"):
            source.read([0, 1])

    def test_errors_leave_no_thread_behind(self, path):
        columns = stored(path, "X/indices")
        columns[-1] = 99
        replace(path, "X/indices", columns)
        before = threading.active_count()
        source, rows, bounds = scd.open(path), np.arange(N), np.arange(0, N + 1, 5)
        with ReadContext(3) as context, pytest.raises(OSError, match="column 99"):
            source.read_batches(rows, rows, bounds, Form("csr"), context)
        assert threading.active_count() <= before


class TestDamage:
    """Wrong bytes in the file's own structure: an error that names the file."""

    def test_text_of_a_damaged_heap(self, path):
        whole = path.read_bytes()
        heap = whole.index(b"GCOL")
        path.write_bytes(whole[:heap] + b"XXXX" + whole[heap + 4 :])
        with pytest.raises(scd.ScdatasetError, match=r"a\.h5ad: .*HDF5 cannot read"):
            scd.open(path)

    def test_a_damaged_group(self, path):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"HEAP", b"XXXX"))
        with pytest.raises(scd.ScdatasetError, match=r"a\.h5ad: HDF5 cannot"):
            scd.open(path)

    def test_more_columns_than_ids_can_name(self, path):
        with h5py.File(path, "r+") as file:
            file["X"].attrs["shape"] = [N, 2**40]
        with pytest.raises(
            ValueError, match=r"X has the shape .*at most 2147483647 col"
        ):
            scd.open(path)
