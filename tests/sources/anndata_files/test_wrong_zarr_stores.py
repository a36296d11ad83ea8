"""Zarr stores that are not what they should be; each error says which and how."""

import builtins
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.anndata_files.zarr_stores import (
    edit,
    forget_consolidated,
    recut,
    write,
)
from tests.sources.small_cells import make_parts

zarr = pytest.importorskip("zarr", minversion="3")


class TestWrongStores:
    """Stores that are not what they should be; each error says which and how."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory):
        path = write(tmp_path_factory.mktemp("store") / "a.zarr", make_parts()[0])
        for name in ("data", "indices"):
            recut(path, f"X/{name}", chunks=(7,), shards=(21,))
        return path

    @pytest.fixture
    def path(self, whole, tmp_path):
        return shutil.copytree(whole, tmp_path / "a.zarr")

    def read(self, path):
        return scd.open(path).read(np.arange(37))

    def test_missing_extra(self, path, monkeypatch):
        real = builtins.__import__

        def without(name, globals=None, locals=None, fromlist=(), level=0):
            if level == 0 and name.partition(".")[0] == "zarr":
                raise ModuleNotFoundError("No module named 'zarr'", name="zarr")
            return real(name, globals, locals, fromlist, level)

        for name in [name for name in sys.modules if name.partition(".")[0] == "zarr"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[zarr\]"):
            scd.open(path)

    def test_old_zarr(self, path, monkeypatch):
        monkeypatch.setattr(zarr, "__version__", "3.0.8")
        with pytest.raises(ImportError, match=r"need zarr 3\.1 or later, and 3\.0\.8"):
            scd.open(path)

    def test_folder_that_is_no_store(self, tmp_path):
        with pytest.raises(ValueError, match="not a folder of a format that is known"):
            scd.open(tmp_path)

    def test_description_that_is_no_json(self, path):
        Path(path, "zarr.json").write_text("{")
        with pytest.raises(ValueError, match=r"a\.zarr: zarr cannot open it"):
            scd.open(path)

    def test_a_list_of_members_that_is_deep(self, path):
        Path(path, ".zmetadata").write_text("[" * 100_000)
        with pytest.raises(ValueError, match='no "layers/other"'):
            scd.open(path, x="layers/other")

    def test_row_pointers_that_the_files_cannot_hold(self, path):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        n = 1 << 24
        for name, size, dtype in (("X/indptr", n + 1, "i8"), ("obs/_index", n, "str")):
            del root[name]
            root.create_array(name, shape=(size,), chunks=(1 << 20,), dtype=dtype)
        root["X"].attrs["shape"] = (n, root["X"].attrs["shape"][1])
        root["X/indptr"][n] = root["X/data"].shape[0]
        forget_consolidated(path)
        with pytest.raises(OSError, match="indptr claims 134,217,736 bytes"):
            scd.open(path)

    def test_array_in_place_of_a_group(self, path):
        with pytest.raises(ValueError, match="it is a single zarr array"):
            scd.open(path / "X" / "data")

    def test_description_of_an_array_with_an_unknown_codec(self, path):
        codecs = [{"name": "bytes"}, {"name": "nobodys", "configuration": {}}]
        edit(path / "X/data/zarr.json", codecs=codecs)
        with pytest.raises(ValueError, match=r"(?s)X/data.*nobodys"):
            scd.open(path)

    def test_no_x(self, path):
        shutil.rmtree(path / "X")
        with pytest.raises(ValueError, match="there is no X"):
            scd.open(path)

    def test_missing_layer(self, path):
        with pytest.raises(ValueError, match='no "layers/count"'):
            scd.open(path, x="layers/count")

    def test_columns_are_refused(self, path):
        described = path / "X/zarr.json"
        metadata = json.loads(described.read_text())
        metadata["attributes"]["encoding-type"] = "csc_matrix"
        described.write_text(json.dumps(metadata))
        with pytest.raises(ValueError, match=r"anndata\.read_zarr.*write_zarr"):
            scd.open(path)

    def test_empty_collection(self, tmp_path):
        root = zarr.open_group(tmp_path / "c", mode="w")
        root.attrs["encoding-type"] = "annbatch-preshuffled"
        with pytest.raises(ValueError, match="collection of annbatch is empty"):
            scd.open(tmp_path / "c")

    def test_pickled_objects(self, tmp_path):
        path = write(tmp_path / "b.zarr", make_parts()[0], version=2)
        forget_consolidated(path)
        filters = [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}]
        described = path.glob("var/**/.zarray")
        edit(next(p for p in described if "vlen" in p.read_text()), filters=filters)
        with pytest.raises(ValueError, match=r"var/_index.* holds pickled objects"):
            scd.open(path)

    def test_stores_and_files_together(self, path, tmp_path):
        make_parts()[0].write_h5ad(tmp_path / "a.h5ad")
        with pytest.raises(ValueError, match=r"an \.h5ad file and .* is a zarr store"):
            scd.open([tmp_path / "a.h5ad", path])

    def test_shard_cut_short(self, path):
        shard = path / "X/data/c/1"
        shard.write_bytes(shard.read_bytes()[:-9])
        with pytest.raises(OSError, match=r"X/data, shard .*checksum of its index"):
            self.read(path)

    def test_shard_shorter_than_its_index(self, path):
        (path / "X/data/c/1").write_bytes(b"short")
        with pytest.raises(OSError, match=r"shard .*5 bytes, fewer than its index"):
            self.read(path)

    @pytest.mark.parametrize(
        ("entry", "match"),
        [
            pytest.param((1 << 40, 30), "outside the file", id="offset"),
            pytest.param((0, 1 << 40), "outside the file|are stored for", id="size"),
            pytest.param((2**64 - 2, 30), "outside the file", id="largest_offset"),
            pytest.param((0, 2**64 - 1), "outside the file", id="largest_size"),
            pytest.param((0, 0), "0 bytes are stored for", id="nothing"),
            pytest.param((3, 20), "chunk 3", id="another_place"),
        ],
    )
    def test_index_that_lies(self, path, entry, match):
        google_crc32c = pytest.importorskip("google_crc32c")
        shard = path / "X/data/c/1"
        data = shard.read_bytes()
        index = np.frombuffer(data[-52:-4], "<u8").reshape(3, 2).copy()
        index[0] = entry
        checksum = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
        shard.write_bytes(data[:-52] + index.tobytes() + checksum)
        with pytest.raises(OSError, match=match):
            self.read(path)

    def test_flipped_bytes_in_a_chunk(self, path):
        shard = path / "X/data/c/1"
        data = bytearray(shard.read_bytes())
        data[:8] = bytes(8)
        shard.write_bytes(data)
        with pytest.raises(OSError, match=r"X/data, chunk 3 \(elements 21 to 28\)"):
            self.read(path)

    def test_chunk_that_decodes_to_more_than_declared(self, path):
        numcodecs = pytest.importorskip("numcodecs")
        recut(path, "X/data", chunks=(7,))
        bomb = numcodecs.Zstd().encode(bytes(1 << 20))
        Path(path, "X/data/c/3").write_bytes(bomb)
        with pytest.raises(OSError, match=r"X/data, chunk 3.*28 bytes"):
            self.read(path)

    def test_store_written_again_after_it_was_opened(self, path):
        source = scd.open(path)
        source.read([0])
        recut(path, "X/data", chunks=(9,))
        with pytest.raises(OSError, match="changed since it was opened"):
            source.read(np.arange(37))

    def test_shard_removed_after_it_was_read(self, path):
        source = scd.open(path)
        source.read([0])
        Path(path, "X/data/c/1").unlink()
        with pytest.raises(OSError, match="not there any more"):
            source.read(np.arange(37))

    def test_zarr_that_cannot_read_a_chunk(self, tmp_path):
        numcodecs = pytest.importorskip("numcodecs")
        path = write(tmp_path / "b.zarr", make_parts()[0], version=2)
        recut(path, "X/data", chunks=(9,), compressors=numcodecs.BZ2())
        Path(path, "X/data/1").write_bytes(b"nothing")
        with pytest.warns(UserWarning, match="through zarr-python"):
            source = scd.open(path)
        with pytest.raises(
            OSError, match=r"X/data, elements .*: zarr cannot read them"
        ):
            source.read(np.arange(37))

    def test_column_out_of_range(self, path):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        root["X/indices"][4] = 11
        with pytest.raises(OSError, match="X/indices has column 11 in row"):
            self.read(path)
