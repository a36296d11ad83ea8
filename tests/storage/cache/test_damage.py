"""Damaged files of a cache: every batch is right, and one warning says what is so."""

import itertools
import json
import os
import shutil
import threading
import warnings

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.storage.reading import cached_reads
from tests.storage.cache.plates import digest, files_of, write_plate

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return [write_plate(folder / "plate.h5ad", n_cells=200)]


@pytest.fixture(scope="module")
def expected(plates):
    return [digest(scd.open(plates), epoch) for epoch in range(3)]


@pytest.fixture(scope="module")
def full(plates, tmp_path_factory):
    """Return the folder of a full cache, to be copied."""
    folder = tmp_path_factory.mktemp("full") / "cache"
    assert scd.open(plates, cache=folder).fill_cache() == 1.0
    return folder


@pytest.fixture
def cache(full, tmp_path):
    shutil.copytree(full, tmp_path / "cache", ignore=lambda *_: ["users"])
    return tmp_path / "cache"


def flip(path):
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data), 1 + len(data) // 5):
        data[at] ^= 0x10
    overwrite(path, data)


def overwrite(path, data):
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def zero(path):
    overwrite(path, bytes(path.stat().st_size))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def grow(path):
    os.truncate(path, 3 * path.stat().st_size + 5)


def remove(path):
    path.unlink()


def turn(path):
    """Put the records or chunks in another order."""
    data = path.read_bytes()
    overwrite(path, data[-CHUNK_BYTES:] + data[:-CHUNK_BYTES])


def garble(path):
    overwrite(path, np.random.default_rng(0).bytes(path.stat().st_size))


CHUNK_BYTES = 256
WAYS = [flip, zero, cut, empty, grow, remove, turn, garble]
QUICK = [flip, cut, remove]
SOME_WAYS = [
    way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS
]


def reads_right(source, expected, epochs=(0, 1)):
    """Read epochs, which must be right whatever is warned of; return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in epochs:
            assert digest(source, epoch) == expected[epoch]
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    "kind",
    [
        ".data",
        ".index",
        pytest.param("array.json", marks=pytest.mark.slow),
        pytest.param(".", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("way", SOME_WAYS)
def test_files_damaged_before_they_are_opened_give_right_batches(
    plates, expected, cache, kind, way
):
    for path in files_of(cache, kind):
        if path.stat().st_size:
            way(path)
    source = scd.open(plates, cache=cache)
    said = reads_right(source, expected)
    assert len(said) <= 1, said
    # What was damaged is mended, so that the next epoch decodes nothing.
    source.fill_cache()
    assert source.cached == 1.0
    again = scd.open(plates, cache=cache)
    assert reads_right(again, expected) == []


@pytest.mark.parametrize("kind", [".data", pytest.param(".", marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", SOME_WAYS)
def test_files_damaged_between_epochs_of_a_process_give_right_batches(
    plates, expected, cache, kind, way
):
    source = scd.open(plates, cache=cache)
    assert reads_right(source, expected, [0]) == []
    for path in files_of(cache, kind):
        if path.stat().st_size:
            way(path)
    assert len(reads_right(source, expected, [1, 2, 0])) <= 1


@pytest.mark.parametrize("way", SOME_WAYS)
def test_files_of_a_part_filled_cache_damaged_between_epochs_give_right_batches(
    plates, expected, tmp_path, way
):
    source = scd.open(plates, cache=tmp_path / "cache")
    source.read(np.arange(0, 200, 40))
    assert 0 < source.cached < 1
    source.read(np.arange(0, 200, 40))
    for path in files_of(tmp_path / "cache", ".data"):
        if path.stat().st_size:
            way(path)
    assert len(reads_right(source, expected, [1, 2, 0])) <= 1


@pytest.mark.parametrize("kind", [".data", pytest.param(".", marks=pytest.mark.slow)])
def test_files_damaged_during_an_epoch_give_right_batches(
    plates, expected, cache, kind
):
    source = scd.open(plates, cache=cache)
    ways = itertools.cycle(WAYS)

    def damage(fetched):
        # A write of this process in the very instant is the next test's subject.
        _ = source.cached  # waits for those that are under way
        for path in files_of(cache, kind):
            if path.stat().st_size:
                next(ways)(path)
        return fetched

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(3):
            found = digest(source, epoch, fetch_transform=damage, read_ahead=0)
            assert found == expected[epoch]
    assert len(caught) <= 1


@pytest.mark.slow
def test_files_damaged_at_any_instant_give_right_batches(plates, expected, cache):
    """What is read between the look before and the one after is read anew."""
    source = scd.open(plates, cache=cache)
    stop = threading.Event()

    def damage():
        rng = np.random.default_rng(0)
        while not stop.wait(0.001):
            path = rng.choice(files_of(cache, ".data"))
            if size := path.stat().st_size:
                with path.open("r+b") as file:
                    file.seek(rng.integers(size))
                    file.write(rng.bytes(200))

    damaging = threading.Thread(target=damage)
    damaging.start()
    try:
        for _ in range(5):
            assert len(reads_right(source, expected, [0, 1, 2])) <= 1
    finally:
        stop.set()
        damaging.join()


def test_damage_that_another_read_mends_meanwhile_is_not_in_a_batch(
    plates, cache, monkeypatch
):
    """The look after a read finds all sound again, but what was read was not."""
    rows = np.arange(200)
    expected = scd.open(plates).read(rows)["X"]
    source = scd.open(plates, cache=cache)
    source.read(rows)
    read = cached_reads._read

    def read_damaged(kept, context):
        monkeypatch.undo()
        for path in files_of(cache, ".data"):
            flip(path)
        n_bytes = read(kept, context)
        with pytest.warns(RuntimeWarning, match="is not what was kept"):
            source.read(rows)
        assert source.cached == 1.0
        return n_bytes

    monkeypatch.setattr(cached_reads, "_read", read_damaged)
    found = source.read(rows)["X"]
    assert np.array_equal(found.indices, expected.indices)
    assert np.array_equal(found.data, expected.data)


def swap(a, b):
    a.rename(a.with_name("x"))
    b.rename(a)
    a.with_name("x").rename(b)


@pytest.mark.parametrize(
    ("what", "during"),
    [
        ("folders", False),
        ("contents", True),
        pytest.param("folders", True, marks=pytest.mark.slow),
        pytest.param("contents", False, marks=pytest.mark.slow),
        pytest.param("files", False, marks=pytest.mark.slow),
        pytest.param("files", True, marks=pytest.mark.slow),
    ],
)
def test_swapped_files_and_folders_give_right_batches(
    plates, expected, cache, what, during
):
    """The arrays have as many chunks, so that only what is in them tells them apart."""
    source = scd.open(plates, cache=cache)
    if during:
        assert reads_right(source, expected, [0]) == []
    folders = sorted(path.parent for path in files_of(cache, "array.json"))
    for a, b in itertools.pairwise(folders):
        if what == "folders":
            swap(a, b)
            continue
        for x, y in zip(sorted(a.iterdir()), sorted(b.iterdir()), strict=True):
            if what == "files":
                swap(x, y)
            else:
                data = x.read_bytes()
                overwrite(x, y.read_bytes())
                overwrite(y, data)
    if not during:
        source = scd.open(plates, cache=cache)
    assert len(reads_right(source, expected, [1, 2])) <= 1


def test_data_of_different_types_swapped_give_right_batches(plates, expected, cache):
    for index in files_of(cache, ".index"):
        one, two = (index.with_suffix(f".data{kind}") for kind in (1, 2))
        swap(one, two)
    assert len(reads_right(scd.open(plates, cache=cache), expected)) == 1


@pytest.mark.parametrize("record", ["lost", "doubled", "of another version", "shifted"])
def test_records_that_tell_of_other_chunks_are_not_believed(
    plates, expected, cache, record
):
    for path in files_of(cache, ".index"):
        records = np.frombuffer(path.read_bytes(), "V8").copy()
        if record == "lost":
            records[::2] = bytes(8)
        elif record == "doubled":
            records[1::2] = records[: len(records) // 2 * 2 : 2]
        elif record == "shifted":
            records = np.roll(records, 1)
        else:
            version = records.view("u1").reshape(-1, 8)
            version[:, 7] += 1
        overwrite(path, records.tobytes())
    source = scd.open(plates, cache=cache)
    said = reads_right(source, expected)
    assert len(said) == (record in ("doubled", "shifted"))
    assert source.fill_cache() == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\x00" * 50,
        json.dumps({"format": 1, "n_chunks": None, "generation": "../../x"}),
        json.dumps({"format": 99, "generation": "0" * 16}),
        '{"format": 1, "n_chunks": 1e99}',
    ],
)
def test_facts_that_cannot_be_right_are_made_anew(plates, expected, cache, text):
    for path in files_of(cache, "array.json"):
        path.write_text(text)
    assert scd.Cache(cache).entries() == []
    source = scd.open(plates, cache=cache)
    assert reads_right(source, expected) == []
    assert source.fill_cache() == 1.0
    assert len(scd.Cache(cache).entries()) == 2


def test_facts_with_other_numbers_are_made_anew(plates, expected, cache):
    for path in files_of(cache, "array.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(facts | {"n_chunks": 10**15, "n_stored": -1}))
    scd.Cache(cache).entries()
    assert reads_right(scd.open(plates, cache=cache), expected) == []


def test_leftovers_of_killed_processes_are_removed_when_they_are_old(plates, cache):
    entry = files_of(cache, "array.json")[0].parent
    left = [entry / f"{'0' * 16}.data1", entry / f"array.json.{'0' * 16}"]
    mine = entry / "notes.txt"
    for path in (*left, mine):
        path.write_text("left")
        os.utime(path, (0, 0))
    fresh = entry / f"{'1' * 16}.data1"
    fresh.write_text("being made")
    scd.open(plates, cache=cache).read(np.arange(200))
    assert [path.exists() for path in (*left, mine, fresh)] == [
        False,
        False,
        True,
        True,
    ]
