"""Every decoded chunk passes the cache of its array, where it has one."""

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ReadContext
from scdataset_core.storage.layout import FoundChunks
from scdataset_core.storage.reading import chunk_decoder, offers
from tests.storage.oracle import check, stored, values


class ToyCache:
    """Keeps decoded chunks whole, and counts what it was asked for."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], bytes] = {}
        self.n_found = 0
        self.n_together: list[int] = []
        self.is_full = False

    def find_kept(self, array, chunks, context):
        # None has an uncompressed copy.
        return FoundChunks(np.zeros(len(chunks), np.uint8), {}, 0)

    def find(self, array, chunk, unwanted, want, context):
        plain = self.kept.get((array.label, chunk))
        if plain is None or len(plain) < want:
            return None
        self.n_found += 1
        return memoryview(plain)

    def keep(self, array, chunks, plain):
        n_bytes = array.needed_grid.n_bytes
        assert len(plain) == len(chunks) * n_bytes
        self.n_together.append(len(chunks))
        for i, chunk in enumerate(chunks):
            whole = plain[i * n_bytes : (i + 1) * n_bytes]
            self.kept[array.label, chunk] = bytes(whole)

    def keep_piece(self, array, chunk, start, piece):
        before = self.kept.get((array.label, chunk), b"") if start else b""
        assert len(before) == start
        self.kept[array.label, chunk] = before + bytes(piece)


def write(path, plain, **layout):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=plain, **layout)
    return stored(path)


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param({"compression": "gzip"}, id="gzip"),
        pytest.param({"compression": "lzf", "shuffle": True}, id="lzf"),
        pytest.param({"compression": "gzip", "dtype": ">i4"}, id="other_byte_order"),
        pytest.param({"compression": 32001}, id="blosc"),
    ],
)
@pytest.mark.parametrize("giant", [False, True])
def test_the_second_read_finds_what_the_first_one_decoded(
    tmp_path, monkeypatch, layout, giant
):
    if layout["compression"] == 32001:
        pytest.importorskip("hdf5plugin")
    if giant:
        monkeypatch.setattr(chunk_decoder, "GIANT", 100)
        monkeypatch.setattr(chunk_decoder, "WINDOW", 64)
    plain = values(2000, "i4").reshape(1000, 2)
    array = write(tmp_path / "x.h5", plain, chunks=(100, 1), **layout)
    cache = array.chunk_cache = ToyCache()
    with ReadContext(2) as context:
        check(array, plain, [(5, 9), (310, 420)], context=context)
        assert sorted(chunk for _, chunk in cache.kept) == [0, 1, 6, 7, 8, 9]
        assert cache.n_found == 0
        kept = b"".join(cache.kept[array.label, chunk] for chunk in (0, 6, 8))
        first_column = np.concatenate([plain[:100, 0], plain[300:500, 0]])
        np.testing.assert_array_equal(np.frombuffer(kept, "i4"), first_column)
        check(array, plain, [(50, 99), (300, 600)], context=context)
        assert cache.n_found == 6
        assert context.stats.chunks_decoded == 8
        n_read = context.stats.bytes_read
        check(array, plain, [(50, 99), (300, 600)], context=context)
        assert context.stats.chunks_decoded == 8
        assert context.stats.bytes_read == n_read


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param({"compression": "gzip"}, id="gzip"),
        pytest.param({"checksum": "inside"}, id="longer_inside"),
        pytest.param({"compression": "gzip", "shuffle": True}, id="shuffled"),
        pytest.param({"compression": "lzf"}, id="decoded_elsewhere"),
        pytest.param({"compression": 32001}, id="blosc"),
    ],
)
@pytest.mark.parametrize("together", [1, 3, 100])
def test_chunks_are_offered_together(tmp_path, monkeypatch, layout, together):
    if layout.get("compression") == 32001:
        pytest.importorskip("hdf5plugin")
    if layout.get("checksum"):
        filters = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        filters.set_fletcher32()
        filters.set_deflate(4)
        layout = {"dcpl": filters}
    monkeypatch.setattr(offers, "OFFER_BYTES", together * 1000 * 4)
    plain = values(20_000, "i4")
    array = write(tmp_path / "x.h5", plain, chunks=(1000,), **layout)
    cache = array.chunk_cache = ToyCache()
    with ReadContext(1) as context:
        check(array, plain, [(0, 8500), (9100, 19_900)], context=context)
    for chunk in range(20):
        kept = np.frombuffer(cache.kept[array.label, chunk], "i4")
        np.testing.assert_array_equal(kept, plain[chunk * 1000 :][:1000])
    assert sum(cache.n_together) == 20
    assert max(cache.n_together) == min(together, 4)  # a task has 4 of 20 chunks


def test_columns_are_taken_from_the_cache_too(tmp_path):
    plain = values(1000, "f4").reshape(100, 10)
    array = write(tmp_path / "x.h5", plain, chunks=(20, 4), compression="gzip")
    cache = array.chunk_cache = ToyCache()
    columns = np.array([9, 3, 0])
    with ReadContext(1) as context:
        for _ in range(2):
            check(array, plain, [(3, 55)], context=context, columns=columns)
        assert (len(cache.kept), cache.n_found) == (6, 6)


def test_nothing_is_offered_to_a_cache_that_is_full(tmp_path):
    plain = values(2000, "i4").reshape(1000, 2)
    array = write(tmp_path / "x.h5", plain, chunks=(100, 1), compression="gzip")
    cache = array.chunk_cache = ToyCache()
    cache.is_full = True
    with ReadContext(1) as context:
        check(array, plain, [(3, 555)], context=context)
    assert not cache.kept
