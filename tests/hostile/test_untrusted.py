"""Nothing that is opened runs code, or reads files that its user did not name.

A canary lies outside of what is opened: a file with values of its own. Whatever a file
says, its values do not come out, unless ``allow_external=True``.
"""

import json
import pickle
import shutil
from functools import cache

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from tests.hostile.small_files import ANNDATA, N_CELLS, SMALL_FILES, write_small

pytestmark = pytest.mark.hostile
zarr = pytest.importorskip("zarr")
pytest.importorskip("pyarrow")

CANARY = 4711


class Bomb:
    """Ends up as an error wherever it is unpickled."""

    def __reduce__(self):
        return (_explode, ())


def _explode():
    raise AssertionError("pickled code ran")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that gives the folder of a small file, written once."""
    folder = tmp_path_factory.mktemp("written")
    return cache(lambda name: write_small(name, folder))


@pytest.fixture
def two(tmp_path, written):
    """Return a function that copies a small file, and the canary beside it."""

    def copy(name):
        small, own = written(name), SMALL_FILES[name].name
        places = [tmp_path / which / small.name for which in ("mine", "other")]
        return [shutil.copytree(small, place) / own for place in places]

    return copy


def total(path, **options):
    """Return the sum of X of all that is read."""
    source = scd.open(path, **options)
    X = source.read(np.arange(N_CELLS))["X"]
    if isinstance(X, dict):
        return sum(part.sum() for part in X.values())
    return X.sum()


def edit(path, change):
    """Change the contents of a JSON file."""
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))


@pytest.mark.parametrize("name", ["h5ad", "h5mu"])
@pytest.mark.parametrize("how", ["external", "soft", "virtual", "raw"])
def test_hdf5_reads_no_other_file(two, name, how):
    mine, other = two(name)
    inner = "mod/rna/X/data" if name == "h5mu" else "X/data"
    with h5py.File(other, "r+") as file:
        file[inner][...] = CANARY
        shape, dtype = file[inner].shape, file[inner].dtype
        other.with_name("raw").write_bytes(file[inner][()].tobytes())
    with h5py.File(mine, "r+") as file:
        del file[inner]
        if how == "external":
            file[inner] = h5py.ExternalLink(str(other), f"/{inner}")
        elif how == "soft":
            file["way"] = h5py.ExternalLink(str(other), "/")
            file[inner] = h5py.SoftLink(f"/way/{inner}")
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(str(other), inner, shape)
            file.create_virtual_dataset(inner, layout)
        else:
            raw = (str(other.with_name("raw")), 0, shape[0] * dtype.itemsize)
            file.create_dataset(inner, shape, dtype, external=[raw])
    with pytest.raises(scd.FileFormatError, match="allow_external=True"):
        scd.open(mine)
    assert total(mine, allow_external=True) > CANARY


def test_the_hint_for_a_wrong_name_opens_no_other_file(two):
    mine, other = two("h5ad")
    with h5py.File(mine, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(other), "/X")
    with pytest.raises(ValueError, match=r"x must be .*got 'counts'$"):
        scd.open(mine, x="counts")
    with pytest.raises(ValueError, match=r"; there are: X$"):
        scd.open(mine, x="counts", allow_external=True)


def test_old_categories_name_no_other_file(two):
    mine, other = two("h5ad of 0.7")
    with h5py.File(mine, "r+") as file:
        file["way"] = h5py.ExternalLink(str(other), "/")
        place = file[file["obs/line"].attrs["categories"]].name
        file["obs/line"].attrs["categories"] = f"/way{place}"
    with pytest.raises(scd.FileFormatError, match=r"line.*allow_external=True"):
        scd.open(mine, obs=["line"])
    assert scd.open(mine, obs=["line"], allow_external=True).categories["line"]


class TestZarr:
    # Columns that cannot be read are left out.
    @pytest.mark.filterwarnings("ignore:obs=True leaves out")
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize(
        "array",
        [
            "X/data",
            "obs/_index",
            pytest.param("obs/line/categories", marks=pytest.mark.slow),
            pytest.param("obs/number", marks=pytest.mark.slow),
        ],
    )
    @pytest.mark.parametrize("place", ["filter", "compressor", "shard"])
    def test_pickle_runs_nowhere_in_a_list_of_codecs(
        self, two, monkeypatch, version, array, place
    ):
        from numcodecs.pickles import Pickle

        monkeypatch.setattr(Pickle, "decode", lambda *_: _explode())
        mine, _ = two(f"zarr {version}")
        bomb = pickle.dumps(Bomb())
        for chunk in (mine / array).rglob("*"):
            if chunk.is_file() and chunk.name.isdecimal():
                chunk.write_bytes(bomb)

        def change(held):
            if version == 2:
                steps = held["filters"] or []
                if place == "filter":
                    held["filters"] = [*steps, {"id": "pickle", "protocol": 5}]
                else:
                    held["compressor"] = {"id": "pickle", "protocol": 5}
            elif place == "shard":
                inner = {
                    "chunk_shape": held["shape"],
                    "codecs": [*held["codecs"], {"name": "numcodecs.pickle"}],
                    "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
                }
                held["codecs"] = [{"name": "sharding_indexed", "configuration": inner}]
            else:
                names = {"filter": "pickle", "compressor": "numcodecs.pickle"}
                held["codecs"].append({"name": names[place], "configuration": {}})

        edit(mine / array / (".zarray" if version == 2 else "zarr.json"), change)
        column = array.split("/")[1]
        if column in ("_index", "data"):
            with pytest.raises(scd.FileFormatError, match="pickle"):
                scd.open(mine, **ANNDATA)
        else:
            source = scd.open(mine, **ANNDATA)
            assert column not in source.obs_columns
            source.read(np.arange(N_CELLS))

    @pytest.mark.filterwarnings("ignore:obs=True leaves out")
    @pytest.mark.parametrize("attribute", ["column-order", "_index"])
    def test_names_do_not_lead_out_of_the_store(self, two, attribute):
        mine, other = two("zarr 3")
        root = zarr.open_group(other, mode="r+")
        root["obs/number"][...] = CANARY
        way = f"../../../../other/zarr_3/{other.name}/obs/number"

        def change(held):
            as_list = attribute == "column-order"
            held["attributes"][attribute] = [way] if as_list else way

        edit(mine / "obs" / "zarr.json", change)
        try:
            source = scd.open(mine, **ANNDATA)
        except scd.FileFormatError:
            return
        cells = source.read(np.arange(N_CELLS))
        assert not any((column == CANARY).any() for column in cells["obs"].values())
        assert str(CANARY) not in set(map(str, cells.names))


def test_old_categories_of_zarr_stay_in_the_store(two):
    mine, other = two("zarr 2")
    codes = zarr.open_group(mine, mode="r+")["obs"].create_array(
        "old", data=np.zeros(N_CELLS, np.int8)
    )
    codes.attrs["categories"] = "../../../../other/zarr_2/a.zarr/obs/line/categories"
    assert other.exists()
    with pytest.raises((scd.FileFormatError, scd.MissingNameError)):
        scd.open(mine, obs=["old"])


def test_a_saved_data_set_names_no_other_file(two):
    pytest.importorskip("datasets")
    mine, other = two("hugging face")
    (file,) = other.glob("*.arrow")
    options = SMALL_FILES["hugging face"].options
    for way in (str(file), f"../../../other/hugging_face/saved/{file.name}"):
        state = json.loads((mine / "state.json").read_text())
        state["_data_files"][0]["filename"] = way
        (mine / "state.json").write_text(json.dumps(state))
        with pytest.raises(scd.FileFormatError, match=r"names the file .*outside"):
            scd.open(mine, **options)
        assert total(mine, **options, allow_external=True) > 0


@pytest.mark.slow
def test_an_experiment_reads_no_other_array(two):
    tiledbsoma = pytest.importorskip("tiledbsoma")
    mine, other = two("soma")
    with tiledbsoma.open(str(mine / "ms/RNA/X"), "d") as layers:
        del layers["data"]
    with (
        tiledbsoma.open(str(mine / "ms/RNA/X"), "w") as layers,
        tiledbsoma.open(str(other / "ms/RNA/X/data")) as array,
    ):
        layers.set("data", array, use_relative_uri=False)
    with pytest.raises(scd.FileFormatError, match="lies outside the experiment"):
        scd.open(mine)
    assert total(mine, allow_external=True) > 0


class TestPickledArrays:
    def test_of_scdl(self, two):
        mine, _ = two("scdl")
        for name in ("cumulative_sum_index.npy", "labels.npy"):
            bombs = np.array([Bomb(), Bomb()], object)
            np.save(mine / "var_features" / name, bombs, allow_pickle=True)
        with pytest.raises(scd.FileFormatError, match=r"cumulative_sum_index\.npy"):
            scd.open(mine)

    def test_of_a_split(self, tmp_path):
        source = scd.open(np.arange(20.0).reshape(10, 2))
        split = scd.split(source, {"train": 0.5, "test": 0.5}, seed=0)
        path = tmp_path / "a.split"
        split.save(path)
        with np.load(path) as held:
            parts = dict(held)
        for name in parts:
            with path.open("wb") as out:
                np.savez(out, **{**parts, name: np.array([Bomb()], object)})
            with pytest.raises(scd.ScdatasetError, match=r"a\.split"):
                scd.load_split(path, source)


def test_links_of_the_file_system_are_followed(two):
    """As hub caches and data managers make them: they are their user's."""
    mine, other = two("zarr 3")
    shutil.rmtree(mine / "X")
    (mine / "X").symlink_to(other / "X")
    assert total(mine) > 0
