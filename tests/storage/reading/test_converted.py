"""Ranges of numbers whose targets are of another type, against NumPy."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scdataset_core.storage import ReadContext, Request, read_requests
from scdataset_core.storage.cache import Cache
from scdataset_core.storage.cache.filling import attach_cache, fill_caches
from scdataset_core.storage.reading import chunk_decoder, converted
from scdataset_core.storage.reading import read_requests as rr
from tests.storage.oracle import stored

N = 1000
LAYOUTS = {
    "contiguous": {},
    "chunks": {"chunks": (64,)},
    "one_chunk": {"chunks": (N,)},
    "gzip": {"chunks": (64,), "compression": "gzip"},
    "lzf_shuffle": {"chunks": (64,), "compression": "lzf", "shuffle": True},
}
DTYPES = ["i8", ">i8", "u8", "u2", "i1"]


@pytest.fixture(scope="module", params=[1, 2])
def context(request):
    with ReadContext(request.param) as context:
        yield context


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "x.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for dtype in DTYPES:
            ids = rng.integers(0, 100, N).astype(dtype)
            if dtype in ("i8", "u8"):
                ids[::97] = 2**32 + 7
            for name, layout in LAYOUTS.items():
                file.create_dataset(f"{dtype}/{name}", data=ids, **layout)
        for name in ("chunks", "gzip"):  # most chunks are not written
            holes = file.create_dataset(
                f"holes/{name}", (N,), "i8", fillvalue=2**40, **LAYOUTS[name]
            )
            holes[300:310] = np.arange(10)
    return path


@pytest.fixture(params=["scratch", "staged", "small_tasks"])
def way(request, monkeypatch):
    """Read through scratch memory, or through buffers like the targets."""
    if request.param != "staged":
        monkeypatch.setattr(rr, "STAGED_BYTES", -1)
    if request.param == "small_tasks":
        monkeypatch.setattr(converted, "TASK_BYTES", 512)
        monkeypatch.setattr(converted, "PIECE_BYTES", 64)
    return request.param


def as_int32(values):
    values = values.astype(values.dtype.newbyteorder("="))
    return np.where(values > 2**31 - 1, -1, values.astype(np.int64)).astype(np.int32)


def ask(array, ranges, targets, rng):
    """Return a request for ranges, whose places in two targets are shuffled."""
    starts, stops = np.array(ranges, np.int64).reshape(-1, 2).T
    order = rng.permutation(len(starts))
    which, offsets = np.zeros((2, len(starts)), np.int64)
    ends = [0, 0]
    for i in order.tolist():
        which[i] = rng.integers(2)
        offsets[i] = ends[which[i]]
        ends[which[i]] += stops[i] - starts[i]
    return Request(array, starts, stops, targets, which, offsets)


def expect(request, values, targets):
    for start, stop, which, at in zip(
        request.starts, request.stops, request.which, request.offsets, strict=True
    ):
        targets[which][at : at + stop - start] = values[start:stop]


some_ranges = st.lists(
    st.tuples(st.integers(0, N - 1), st.integers(0, 150)), min_size=1, max_size=25
).map(lambda pairs: sorted((a, min(a + n, N)) for a, n in [*pairs, *pairs[:3]]))


@pytest.mark.parametrize("dtype", [*DTYPES, "holes"])
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ranges=some_ranges, seed=st.integers(0, 99))
def test_every_layout_gives_int32(path, context, way, dtype, ranges, seed):
    rng = np.random.default_rng(seed)
    names = ["chunks", "gzip"] if dtype == "holes" else list(LAYOUTS)
    for name in names:
        with h5py.File(path) as file:
            values = as_int32(file[f"{dtype}/{name}"][:])
        room = sum(stop - start for start, stop in ranges)
        got, want = ([np.full(room, 99, np.int32) for _ in range(2)] for _ in range(2))
        request = ask(stored(path, f"{dtype}/{name}"), ranges, got, rng)
        read_requests([request], context)
        expect(request, values, want)
        np.testing.assert_array_equal(got, want)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from(["i8", "u2", ">i8"]), st.sampled_from([*LAYOUTS])),
        min_size=2,
        max_size=4,
    ),
    seed=st.integers(0, 99),
)
def test_arrays_of_several_types_share_targets(path, context, way, kinds, seed):
    rng = np.random.default_rng(seed)
    ranges = [(10 * i, 10 * i + 7) for i in range(40)]
    got, want = ([np.full(280 * len(kinds), 99, np.int32)] for _ in range(2))
    requests = []
    places = rng.permutation(40 * len(kinds)) * 7
    starts, stops = np.array(ranges).T
    for number, (dtype, name) in enumerate(kinds):
        at = places[number * 40 : (number + 1) * 40]
        which = np.zeros(40, np.int64)
        array = stored(path, f"{dtype}/{name}")
        requests.append(Request(array, starts, stops, got, which, at))
        with h5py.File(path) as file:
            expect(requests[-1], as_int32(file[f"{dtype}/{name}"][:]), want)
    read_requests(requests, context)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["i8", "u2"])
def test_very_large_chunks_are_converted_piece_by_piece(
    path, context, monkeypatch, dtype
):
    monkeypatch.setattr(chunk_decoder, "GIANT", 100)
    monkeypatch.setattr(chunk_decoder, "WINDOW", 61)  # pieces end inside numbers
    with h5py.File(path) as file:
        values = as_int32(file[f"{dtype}/gzip"][:])
    got, want = ([np.full(N, 99, np.int32) for _ in range(2)] for _ in range(2))
    ranges = [(0, 3), (30, 200), (200, 201), (500, 900)]
    request = ask(stored(path, f"{dtype}/gzip"), ranges, got, np.random.default_rng(0))
    read_requests([request], context)
    expect(request, values, want)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("large", [5, 2**31 - 1, 2**31, 2**32 + 5, 2**62])
def test_what_a_cache_keeps_is_converted_too(tmp_path, context, dtype, large):
    ids = np.arange(N) % 100
    if large <= np.iinfo(dtype).max:
        ids[700:710] = large  # in a chunk that is kept in another type than the others
    ids = ids.astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=ids, chunks=(100,), compression="gzip")
    array = stored(tmp_path / "x.h5")
    attach_cache([array], Cache(tmp_path / "cache", None))
    rng = np.random.default_rng(0)
    ranges = [(0, 3), (30, 200), (200, 201), (650, 900)]
    for _ in range(3):
        got, want = ([np.full(N, 99, np.int32) for _ in range(2)] for _ in range(2))
        request = ask(array, ranges, got, rng)
        read_requests([request], context)
        expect(request, as_int32(ids), want)
        np.testing.assert_array_equal(got, want)
        n_decoded = context.stats.chunks_decoded
        fill_caches([array], None, 1)
    read_requests([request], context)
    assert context.stats.chunks_decoded == n_decoded


def test_values_are_widened(tmp_path, context, way):
    values = np.linspace(-1, 1, N, dtype="f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(64,))
    got = np.empty(N, "f8")
    zero, end = np.zeros(1, np.int64), np.array([N])
    read_requests(
        [Request(stored(tmp_path / "x.h5"), zero, end, [got], zero, zero)], context
    )
    np.testing.assert_array_equal(got, values)


def test_reads_that_stop_early_go_on(path, way):
    with h5py.File(path) as file:
        want = as_int32(file["i8/contiguous"][:])
    got = np.empty(N, np.int32)
    zero, end = np.zeros(1, np.int64), np.array([N])
    for reader in ("preadv", "pread", "seek"):
        with ReadContext(1, reader=reader) as context:
            array = stored(path, "i8/contiguous")
            read_requests([Request(array, zero, end, [got], zero, zero)], context)
        np.testing.assert_array_equal(got, want)
        got[:] = 0


def test_types_that_lose_numbers_are_refused(path, context):
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    for dtype in ("f4", "u4"):
        target = [np.empty(1, dtype)]
        request = Request(stored(path, "i8/gzip"), zero, one, target, zero, zero)
        with pytest.raises(ValueError, match="must be writable C-contiguous int64"):
            read_requests([request], context)
