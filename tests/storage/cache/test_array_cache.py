"""Kept chunks give the same elements as decoded ones, whatever the array is."""

import errno
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdataset_core.storage import ReadContext, Request, read_requests
from scdataset_core.storage.cache import Cache, array_cache
from scdataset_core.storage.cache.filling import (
    attach_cache,
    cached_share,
    fill_caches,
)
from scdataset_core.storage.cache.open_entries import OpenEntry
from scdataset_core.storage.cache.writing import FileStatus
from scdataset_core.storage.reading import chunk_decoder, encoded, read_advice
from tests.storage.oracle import check, stored, values


def write(path, plain, **layout):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=plain, **layout)
    return stored(path)


def with_cache(array, folder, limit=None):
    attach_cache([array], Cache(folder, limit))
    return array


def counts(n, high, dtype="f4", seed=0):
    return np.random.default_rng(seed).integers(0, high, n).astype(dtype)


PLAIN = {
    "counts of one byte": counts(1000, 200),
    "counts of two bytes": counts(1000, 60_000),
    "counts of both": np.concatenate([counts(500, 200), counts(500, 900)]),
    "measures": np.random.default_rng(0).normal(size=1000).astype("f4"),
    "doubles that are singles": np.random.default_rng(0)
    .normal(size=1000)
    .astype("f4")
    .astype("f8"),
    "doubles": np.random.default_rng(0).normal(size=1000),
    "signed": values(1000, "i2") - 3,
    "column ids": counts(1000, 70_000, "i8"),
    "large ids": counts(1000, 2**40, "u8"),
    "odd floats": np.array([-0.0, np.nan, np.inf, 1.5, 256.0] * 200, "f4"),
    "half": counts(1000, 100, "f2"),
    "booleans": counts(1000, 2, "?"),
    "other byte order": counts(1000, 500, ">f4"),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("giant", [False, True])
def test_every_kind_of_number_comes_back_bit_for_bit(
    tmp_path, monkeypatch, name, giant
):
    if giant:
        monkeypatch.setattr(chunk_decoder, "GIANT", 100)
        monkeypatch.setattr(chunk_decoder, "WINDOW", 61)
    plain = PLAIN[name]
    array = write(tmp_path / "x.h5", plain, chunks=(90,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    ranges = [(5, 9), (9, 400), (310, 420), (310, 420), (990, 1000), (1000, 1000)]
    with ReadContext(2) as context:
        for _ in range(3):
            array.chunk_cache.cache.process.writer.flush(5.0)
            check(array, plain, ranges, context=context)
        assert fill_caches([array], None, 1) == 1.0
        n_decoded = context.stats.chunks_decoded
        check(array, plain, [(0, 1000)], context=context)
        assert context.stats.chunks_decoded == n_decoded
        read = array.read(0, 1000, context=context)
    np.testing.assert_array_equal(
        read.view(np.uint8), plain.astype(plain.dtype.newbyteorder("=")).view(np.uint8)
    )


@settings(max_examples=25)
@given(data=st.data())
def test_matrices_come_back_by_rows_and_by_columns(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("matrix")
    n_rows, n_columns = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 12)))
    chunks = data.draw(st.tuples(st.integers(1, n_rows), st.integers(1, n_columns)))
    high = data.draw(st.sampled_from([100, 300, 70_000]))
    plain = counts(n_rows * n_columns, high).reshape(n_rows, n_columns)
    array = write(folder / "x.h5", plain, chunks=chunks, compression="gzip")
    with_cache(array, folder / "cache")
    columns = None
    if data.draw(st.booleans()):
        columns = np.array(
            data.draw(st.lists(st.integers(0, n_columns - 1), min_size=1, unique=True))
        )
    edges = st.integers(0, n_rows)
    ranges = sorted(
        tuple(sorted(pair))
        for pair in data.draw(st.lists(st.tuples(edges, edges), min_size=1))
    )
    with ReadContext(2) as context:
        for _ in range(2):
            check(array, plain, ranges, context=context, columns=columns)
            array.chunk_cache.cache.process.writer.flush(5.0)
        fill_caches([array], None, 1)
        n_decoded = context.stats.chunks_decoded
        check(array, plain, ranges, context=context, columns=columns)
        assert context.stats.chunks_decoded == n_decoded


def test_empty_ranges_among_cut_ones_are_read_right_of_arrays_that_are_kept_in_part(
    tmp_path,
):
    # As many pieces as ranges, though the first range of the first array is three.
    small = write(tmp_path / "a.h5", values(36, "f4"), chunks=(3,), compression="gzip")
    large = write(tmp_path / "b.h5", values(36, "i4"), chunks=(12,), compression="gzip")
    starts, stops, zeros = np.array([2, 36]), np.array([7, 36]), np.zeros(2, int)
    with ReadContext(1) as context:
        for array in (small, large):
            with_cache(array, tmp_path / "cache")
            array.read(0, 6, context=context)
            array.read(30, 36, context=context)  # what is not kept between is a hole
            array.chunk_cache.cache.process.writer.flush(5.0)
        read = [np.full(5, 99, array.dtype) for array in (small, large)]
        read_requests(
            [
                Request(array, starts, stops, [target], zeros, zeros)
                for array, target in zip((small, large), read, strict=True)
            ],
            context,
        )
    np.testing.assert_array_equal(read[0], values(36, "f4")[2:7])
    np.testing.assert_array_equal(read[1], values(36, "i4")[2:7])


def test_filling_tells_how_far_it_is_and_only_fills_what_is_missing(tmp_path):
    plain = counts(1000, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(100,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    assert cached_share([array]) == 0.0
    with ReadContext(1) as context:
        check(array, plain, [(0, 150)], context=context)
    assert cached_share([array]) == pytest.approx(0.2)
    told = []
    assert fill_caches([array], lambda *now: told.append(now), 2) == 1.0
    assert told[-1] == (8 * 400, 8 * 400)
    told.clear()
    assert fill_caches([array], lambda *now: told.append(now), 2) == 1.0
    assert told == []


def test_chunks_that_were_never_written_are_not_counted(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset(
            "x", (300,), "f4", chunks=(100,), compression="gzip", fillvalue=7
        )
        data[100:200] = 1
    array = with_cache(stored(tmp_path / "x.h5"), tmp_path / "cache")
    expected = np.repeat(np.array([7, 1, 7], "f4"), 100)
    with ReadContext(1) as context:
        for _ in range(2):
            check(array, expected, [(0, 300)], context=context)
            assert cached_share([array]) == 1.0
        assert context.stats.chunks_cached == 1


def test_what_is_kept_takes_the_bytes_of_its_narrow_type(tmp_path):
    plain = counts(400_000, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(8192,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    fill_caches([array], None, 1)
    n_bytes = array.chunk_cache.cache.nbytes
    assert len(plain) <= n_bytes <= 1.1 * len(plain) + 30_000


def test_arrays_that_need_no_cache_get_none(tmp_path):
    plain = write(tmp_path / "x.h5", counts(100, 9), chunks=(10,))
    text = write(tmp_path / "y.h5", values(100, "S5"), chunks=(10,), compression=4)
    for array in (plain, text):
        attach_cache([array], Cache(tmp_path / "cache"))
        assert array.chunk_cache is None


@pytest.fixture
def kept(tmp_path):
    """Return an array of which all chunks are kept, and its elements."""
    plain = counts(1000, 200)
    layout = {"chunks": (100,), "compression": 1}
    array = with_cache(write(tmp_path / "x.h5", plain, **layout), tmp_path / "cache")
    assert fill_caches([array], None, 1) == 1.0
    return array, plain


def test_an_interrupt_while_an_entry_is_opened_is_no_reason_to_do_without(
    kept, monkeypatch
):
    array, _ = kept
    again = pickle.loads(pickle.dumps(array))

    def interrupted(*arguments):
        raise KeyboardInterrupt("now")

    process = array.chunk_cache.cache.process
    names = process.names_in_use()
    used = dict(process._used)
    with monkeypatch.context() as patch:
        patch.setattr(array_cache, "open_entry", interrupted)
        with pytest.raises(KeyboardInterrupt, match="now"):
            cached_share([again])
    assert process._used == used
    assert process.names_in_use() == names
    assert cached_share([again]) == 1.0


def test_files_that_another_client_removed_are_made_anew(kept, monkeypatch):
    """On a network's disk they are stale, and not merely missing."""
    array, plain = kept
    of, stale = FileStatus.of, [OSError(errno.ESTALE, "Stale file handle")]

    def find(descriptor):
        if stale:
            raise stale.pop()
        return of(descriptor)

    with ReadContext(1) as context:
        check(array, plain, [(5, 250)], context=context)
        before = context.stats.chunks_cached
        assert before > 0
        monkeypatch.setattr(FileStatus, "of", find)
        for _ in range(2):
            check(array, plain, [(5, 250)], context=context)
        assert not stale
        assert context.stats.chunks_cached == 3 * before


def test_chunks_that_are_offered_together_hold_the_limit(tmp_path):
    plain = counts(64 * 16_384, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(16_384,), compression="gzip")
    limit = 300_000
    with_cache(array, tmp_path / "cache", limit)
    with ReadContext(2) as context:
        check(array, plain, [(0, len(plain))], context=context)
        check(array, plain, [(0, len(plain))], context=context)
    assert cached_share([array]) > 0
    assert Cache(tmp_path / "cache").nbytes <= limit + 16_384


def test_what_is_forgotten_while_it_is_checked_is_checked_again(tmp_path, monkeypatch):
    """As where two threads read, and the file of the chunks has changed just before."""
    plain = counts(1000, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(100,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    fill_caches([array], None, 1)
    add, n_added = OpenEntry.add, 0

    def forget_first(opened, *arguments):
        nonlocal n_added
        n_added += 1
        opened.n_forgotten += n_added == 1
        add(opened, *arguments)

    monkeypatch.setattr(OpenEntry, "add", forget_first)
    with ReadContext(1) as context:
        check(array, plain, [(5, 950)], context=context)
        assert context.stats.chunks_decoded == 0
    assert n_added == 2


def test_what_is_looked_up_while_it_is_forgotten_is_looked_at_again(tmp_path):
    plain = counts(1000, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(100,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    fill_caches([array], None, 1)
    found = []

    class Kinds(np.ndarray):
        def __setitem__(self, which, kind):
            found.append(opened.find(np.arange(3)))  # as another thread would
            super().__setitem__(which, kind)

    with ReadContext(1) as context:
        check(array, plain, [(0, 300)], context=context)
        opened = array.chunk_cache._state.opened
        os.utime(opened.entry.data[0])
        opened.kinds = opened.kinds.view(Kinds)
        assert opened.look(array.chunk_cache.cache.process, context)
    [half_forgotten] = found
    assert half_forgotten.kinds.all()
    assert half_forgotten.state != opened.n_forgotten


def test_damage_between_first_checks_of_two_threads_is_found(tmp_path, monkeypatch):
    plain = counts(1000, 200)
    array = write(tmp_path / "x.h5", plain, chunks=(100,), compression="gzip")
    with_cache(array, tmp_path / "cache")
    fill_caches([array], None, 1)
    writer = array.chunk_cache.cache.process.writer
    find_status, n_found = writer.find_status, 0

    def be_overtaken(path, descriptor):
        nonlocal n_found
        n_found += 1
        if n_found == 1:
            check(array, plain, [(500, 600)], context=context)
            with Path(path).open("r+b") as file:
                file.seek(550)
                file.write(b"\xff")
        return find_status(path, descriptor)

    monkeypatch.setattr(writer, "find_status", be_overtaken)
    with ReadContext(1) as context:
        check(array, plain, [(0, 100)], context=context)
        with pytest.warns(RuntimeWarning, match="is not what was kept"):
            check(array, plain, [(500, 600)], context=context)
    assert n_found > 1


def test_chunks_on_a_cold_disk_are_checked_where_each_task_asks_for_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(encoded, "TASK_BYTES", 1)
    monkeypatch.setattr(read_advice, "LEAST_BYTES", 1)
    monkeypatch.setattr(read_advice, "_is_cold", lambda *_: True)
    plain = counts(16_000, 200).reshape(2000, 8)
    array = write(tmp_path / "x.h5", plain, chunks=(10, 4), compression="gzip")
    with_cache(array, tmp_path / "cache")
    fill_caches([array], None, 1)
    with ReadContext(2) as context:
        check(array, plain, [(0, 2000)], context=context)
        assert context.stats.chunks_decoded == 0
