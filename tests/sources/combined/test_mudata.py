"""Modalities of a MuData side by side."""

import pickle
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from scdataset_core.sources.anndata_files import cell_names
from scdataset_core.sources.anndata_objects import mudata_object
from scdataset_core.sources.obs.text import StoredText
from tests.sources.small_cells import make_full_parts, make_parts


@pytest.fixture(scope="module")
def wanted():
    return np.concatenate([part.X.toarray() for part in make_parts()])


def write_map(file, change):
    """Write a map of the modality "protein" in which some cells have other rows."""
    values = np.arange(1, 38).astype(type(next(iter(change.values()))))
    values[list(change)] = list(change.values())
    del file["obsmap/protein"]
    file["obsmap/protein"] = values


def count_names(monkeypatch):
    """Return a list of the numbers of names of cells that are decoded from now on."""
    numbers, read = [], StoredText.read

    def count(self, start, stop):
        if self.name.endswith("obs/_index"):
            numbers.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(StoredText, "read", count)
    return numbers


class TestMuData:
    @pytest.fixture
    def mudata(self):
        module = pytest.importorskip("mudata")
        with module.set_options(pull_on_update=False):
            yield module

    @pytest.fixture
    def mdata(self, mudata):
        rna = make_full_parts()[0]
        order = np.random.default_rng(0).permutation(37)
        values = np.arange(37 * 4, dtype=np.float32).reshape(37, 4)
        protein = ad.AnnData(
            values[order],
            obs=pd.DataFrame({"depth": order}, index=rna.obs_names[order]),
            var=pd.DataFrame(index=[f"protein{i}" for i in range(4)]),
        )
        mdata = mudata.MuData({"rna": rna, "protein": protein})
        mdata.obs["number"] = np.arange(37)
        return mdata

    def check(self, source, wanted):
        assert source.shape == (37, 11)
        assert list(source.parts) == ["rna", "protein"]
        assert source.parts["protein"].var_names[1] == "protein1"
        values = np.arange(37 * 4).reshape(37, 4)
        for batch in scd.Loader(source, batch_size=8, output="dense"):
            rows = batch["index"]
            np.testing.assert_array_equal(batch["X"]["rna"], wanted[rows])
            np.testing.assert_array_equal(batch["X"]["protein"], values[rows])
            np.testing.assert_array_equal(batch["obs"]["number"], rows)
        cells = source.read([2, 5])
        adata = cells.to_anndata()
        assert adata.obsm["protein"].shape == (2, 4)
        assert adata.obs_names.tolist() == ["cell2", "cell5"]

    def test_in_memory_in_another_order(self, mdata, wanted):
        columns = ["number", "protein:depth", "rna:line"]
        source = scd.open(mdata, obs=columns, obs_names=True)
        self.check(source, wanted)
        np.testing.assert_array_equal(source.obs["protein:depth"], np.arange(37))
        assert source.categories["rna:line"] == ["MCF7", "A549", "HCT15"]

    def test_file(self, mdata, wanted, tmp_path):
        mdata.write(tmp_path / "cells.h5mu")
        columns = ["number", "rna:line", "protein:depth"]
        source = scd.open(tmp_path / "cells.h5mu", obs=columns, obs_names=True)
        np.testing.assert_array_equal(source.obs["protein:depth"], np.arange(37))
        assert source.files == (str(tmp_path / "cells.h5mu"),)
        self.check(source, wanted)
        assert source.categories["rna:line"] == ["MCF7", "A549", "HCT15"]
        copy = pickle.loads(pickle.dumps(source))
        assert copy.fingerprint == source.fingerprint
        self.check(copy, wanted)

    def test_backed(self, mudata, mdata, wanted, tmp_path):
        mdata.write(tmp_path / "cells.h5mu")
        backed = mudata.read_h5mu(tmp_path / "cells.h5mu", backed="r")
        source = scd.open(backed, obs=["number"], obs_names=True)
        assert source.parts["rna"].files == (str(tmp_path / "cells.h5mu"),)
        self.check(source, wanted)

    def test_a_file_without_a_map_is_aligned_by_name(self, mdata, wanted, tmp_path):
        mdata.write(tmp_path / "cells.h5mu")
        with h5py.File(tmp_path / "cells.h5mu", "a") as file:
            del file["obsmap"]
        source = scd.open(tmp_path / "cells.h5mu", obs=["number"], obs_names=True)
        self.check(source, wanted)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (
                {3: 8},
                r'obsmap gives cell 7 row 7 of the modality "protein" \(37 rows\),'
                r" which another cell has too \(1 such cells\)",
            ),
            ({5: 38}, r'cell 5 row 37 of the modality "protein".*which it has not'),
            ({5: -4}, r'cell 5 row -5 of the modality "protein".*which it has not'),
            ({5: 2.5}, r'obsmap of the modality "protein" is float64'),
        ],
    )
    def test_a_map_that_is_no_permutation(self, mdata, tmp_path, change, match):
        mdata.write(tmp_path / "cells.h5mu")
        with h5py.File(tmp_path / "cells.h5mu", "a") as file:
            write_map(file, change)
            for place in ("obs", "mod/rna/obs", "mod/protein/obs"):
                table = file[place]
                table[table.attrs["_index"]][:2] = "cell"  # names repeat
        with pytest.raises(scd.FileFormatError, match=rf"cells\.h5mu: .*{match}"):
            scd.open(tmp_path / "cells.h5mu")

    @pytest.mark.parametrize(
        "change",
        [{3: 8}, {5: 38}, {5: -4}, {5: 0}],
        ids=["twice", "out_of_range", "negative", "missing"],
    )
    def test_names_decide_where_a_map_is_no_permutation(
        self, mdata, wanted, tmp_path, change
    ):
        mdata.write(tmp_path / "cells.h5mu")
        with h5py.File(tmp_path / "cells.h5mu", "a") as file:
            write_map(file, change)
        source = scd.open(tmp_path / "cells.h5mu", obs=["number"], obs_names=True)
        self.check(source, wanted)

    def test_names_are_compared_in_pieces(self, mdata, wanted, tmp_path, monkeypatch):
        mdata.write(tmp_path / "cells.h5mu")
        read = count_names(monkeypatch)
        monkeypatch.setattr(cell_names, "_PIECE_ROWS", 10)
        monkeypatch.setattr(cell_names.CellNames, "find_in", None)  # of no need
        source = scd.open(tmp_path / "cells.h5mu", obs=["number"], obs_names=True)
        assert read == 3 * [10, 10, 10, 7]
        self.check(source, wanted)

    @pytest.mark.parametrize(
        ("size", "dtype"),
        [(1 << 46, "i8"), (36, "i8"), (37, "S1")],
        ids=["large", "short", "text"],
    )
    def test_a_map_that_has_no_row_for_each_cell(self, mdata, tmp_path, size, dtype):
        mdata.write(tmp_path / "cells.h5mu")
        with h5py.File(tmp_path / "cells.h5mu", "a") as file:
            del file["obsmap/protein"]
            file.create_dataset("obsmap/protein", (size,), dtype, chunks=(36,))
        with pytest.raises(
            scd.FileFormatError, match=r"for each of the 37 cells; make"
        ):
            scd.open(tmp_path / "cells.h5mu")

    def test_a_modality_changed_since_is_honoured(self, mdata, wanted):
        mdata.mod["rna"] = mdata.mod["rna"][::-1].copy()
        self.check(scd.open(mdata, obs=["number"], obs_names=True), wanted)

    def test_unique_names_of_objects_are_looked_up_by_pandas(
        self, mdata, wanted, monkeypatch
    ):
        monkeypatch.setattr(mudata_object, "row_order", None)
        self.check(scd.open(mdata, obs=["number"], obs_names=True), wanted)

    def test_a_modality_of_a_file_that_was_written_again(
        self, mudata, mdata, wanted, tmp_path
    ):
        """MuData leaves the map of the others as it was, and reads by name."""
        mdata.write(tmp_path / "cells.h5mu")
        mudata.write(str(tmp_path / "cells.h5mu/rna"), mdata.mod["rna"][::-1].copy())
        source = scd.open(
            tmp_path / "cells.h5mu", obs=["number", "protein:depth"], obs_names=True
        )
        self.check(source, wanted)
        np.testing.assert_array_equal(source.obs["protein:depth"], np.arange(37))

    @pytest.mark.filterwarnings("ignore:.*(not unique|Duplicated)")  # that names repeat
    @pytest.mark.parametrize("as_file", [False, True], ids=["object", "file"])
    def test_a_stale_map_of_names_that_repeat(self, mudata, tmp_path, as_file):
        rna = make_full_parts()[0]
        rna.obs_names = [f"cell{i // 2}" for i in range(37)]
        protein = rna[:, :3].copy()
        protein.var_names = ["a", "b", "c"]
        mdata = mudata.MuData({"rna": rna[:, 3:].copy(), "protein": protein})
        assert scd.open(mdata).shape[0] == 37
        mdata.mod["protein"] = protein[::-1].copy()
        data = mdata
        if as_file:
            data = tmp_path / "cells.h5mu"
            mdata.write(data)
        with pytest.raises(
            scd.FileFormatError,
            match=r'cell 0, cell0, the row of cell18 in .*"protein"',
        ):
            scd.open(data)

    def test_several_files(self, mudata, tmp_path, wanted):
        start = 0
        for i, part in enumerate(make_full_parts()):
            back = np.arange(part.n_obs)[:: -1 if i == 1 else 1]
            protein = ad.AnnData(
                np.arange(start, start + part.n_obs, dtype=float)[back, None],
                obs=pd.DataFrame(index=part.obs_names[back]),
                var=pd.DataFrame(index=["protein0"]),
            )
            mdata = mudata.MuData({"rna": part, "protein": protein})
            mdata.obs["line"] = part.obs["line"]
            mdata.write(tmp_path / f"part{i}.h5mu")
            start += part.n_obs
        source = scd.open(str(tmp_path / "*.h5mu"), obs=["line"], obs_names=True)
        cells = source.read([0, 40, 41, 99], [1, 0, 3, 2])
        rows = cells["index"]
        np.testing.assert_array_equal(cells["X"]["protein"][:, 0], rows)
        np.testing.assert_array_equal(cells["X"]["rna"].toarray(), wanted[rows])
        names = cells.to_anndata().obs_names
        assert names.tolist() == [f"cell{row}" for row in rows]
        assert source.categories == {"line": ["MCF7", "A549", "HCT15"]}

    def test_modalities_that_differ_in_cells(self, mudata, mdata, tmp_path):
        mdata.mod["protein"] = mdata.mod["protein"][:30].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mdata.update()
        mdata.write(tmp_path / "cells.h5mu")
        for data in (mdata, tmp_path / "cells.h5mu"):
            with pytest.raises(
                ValueError, match=r'"protein" has 30 cells.*lacks 7.*intersect_obs'
            ):
                scd.open(data)

    def test_modalities_that_share_genes(self, mudata, tmp_path):
        parts = make_parts()
        mdata = mudata.MuData({"a": parts[0], "b": parts[1]}, axis=1)
        mdata.write(tmp_path / "cells.h5mu")
        for data in (mdata, tmp_path / "cells.h5mu"):
            with pytest.raises(
                ValueError, match=r"share genes .axis=1., expected cells"
            ):
                scd.open(data)

    def test_genes_are_given_one_by_one(self, mdata):
        with pytest.raises(ValueError, match="genes goes with one matrix"):
            scd.open(mdata, genes=["gene1"])
        multi = scd.MultiIndexable(rna=scd.open(mdata.mod["rna"], genes=["gene1"]))
        assert scd.open(multi).shape == (37, 1)

    def test_files_of_other_modalities(self, mudata, mdata, tmp_path):
        mdata.write(tmp_path / "a.h5mu")
        mudata.MuData({"rna": make_full_parts()[0]}).write(tmp_path / "b.h5mu")
        with pytest.raises(ValueError, match=r"a.h5mu has the modalities .*b.h5mu"):
            scd.open(str(tmp_path / "*.h5mu"))

    def test_missing_column_names_the_nearest(self, mdata, tmp_path):
        mdata.write(tmp_path / "cells.h5mu")
        for data in (mdata, tmp_path / "cells.h5mu"):
            with pytest.raises(scd.MissingNameError, match='did you mean "number"'):
                scd.open(data, obs=["numbers"])
