"""Ranges of arrays, scattered, against h5py."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scdataset_core.storage import ReadContext, Request, read_requests
from scdataset_core.storage.reading import chunk_decoder
from tests.storage.oracle import check, stored, values

N = 1000
many = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

LAYOUTS = {
    "contiguous": {},
    "one_chunk": {"chunks": (N,)},
    "chunk_of_one": {"chunks": (1,)},
    "last_chunk_partial": {"chunks": (64,)},
    "gzip": {"chunks": (64,), "compression": "gzip"},
    "gzip_one_chunk": {"chunks": (N,), "compression": "gzip"},
    "gzip_chunk_of_one": {"chunks": (1,), "compression": "gzip"},
    "gzip_shuffle": {"chunks": (64,), "compression": "gzip", "shuffle": True},
    "shuffle": {"chunks": (64,), "shuffle": True},
    "fletcher32": {"chunks": (64,), "fletcher32": True},
    "all_filters": {
        "chunks": (64,),
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
    "lzf": {"chunks": (64,), "compression": "lzf"},
    "lzf_shuffle": {"chunks": (64,), "compression": "lzf", "shuffle": True},
}
DTYPES = [
    "f4",
    "<f8",
    ">f8",
    "f2",
    "i4",
    ">i4",
    "u8",
    "i8",
    "u2",
    "i1",
    "?",
    "S5",
    "c8",
]


@st.composite
def some_ranges(draw: st.DrawFn, n: int = N) -> list[tuple[int, int]]:
    lengths = st.integers(0, draw(st.sampled_from([1, 5, 70, n])))
    pairs = draw(st.lists(st.tuples(st.integers(0, n), lengths), max_size=30))
    ranges = [(a, min(a + size, n)) for a, size in pairs]
    repeats = draw(st.lists(st.sampled_from(ranges), max_size=5)) if ranges else []
    return sorted(ranges + repeats)


@pytest.fixture(scope="module")
def context():
    with ReadContext(2) as context:
        yield context


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Return a stored array and its values for each layout."""
    path = tmp_path_factory.mktemp("layouts") / "layouts.h5"
    with h5py.File(path, "w") as file:
        for name, layout in LAYOUTS.items():
            file.create_dataset(name, data=values(N, "f4"), **layout)
    return {name: (stored(path, name), values(N, "f4")) for name in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(ranges=some_ranges())
@many
def test_any_ranges_of_any_layout(layouts, context, layout, ranges) -> None:
    array, plain = layouts[layout]
    assert array.grid is not None
    check(array, plain, ranges, context=context)


@pytest.mark.parametrize("layout", ["contiguous", "last_chunk_partial", "all_filters"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_in_native_order(tmp_path, context, layout, dtype) -> None:
    plain = values(N, dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, **LAYOUTS[layout])
    array = stored(tmp_path / "x.h5")
    assert array.dtype == plain.dtype.newbyteorder("=")
    assert array.grid is not None
    np.testing.assert_array_equal(array.read(), plain)
    repeats = [(5, 10), (5, 10), (5, 80), (60, 300), (60, 300), (999, 1000)]
    check(array, plain, repeats, context=context)


@pytest.mark.parametrize("chunks", [None, (7, 5), (1, 30), (50, 1), (13, 30), (50, 7)])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("dtype", ["f4", ">i2"])
def test_2d_arrays_and_some_of_their_columns(
    tmp_path, context, chunks, compression, dtype
) -> None:
    if compression and chunks is None:
        pytest.skip("contiguous data are not compressed")
    plain = np.arange(50 * 30).reshape(50, 30).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=chunks, compression=compression)
    array = stored(tmp_path / "x.h5")
    ranges = [(0, 0), (0, 50), (3, 4), (3, 4), (6, 9), (20, 50), (48, 50)]
    check(array, plain, ranges, context=context)
    for columns in ([4], [29, 0, 7, 8], list(range(30)), list(range(5, 12)), []):
        check(
            array, plain, ranges, context=context, columns=np.array(columns, np.int64)
        )
    np.testing.assert_array_equal(array.read(7, 33), plain[7:33])


def test_rows_of_more_than_two_axes(tmp_path, context) -> None:
    plain = np.arange(20 * 3 * 4, dtype="i4").reshape(20, 3, 4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("whole", data=plain, chunks=(6, 3, 4), compression="gzip")
        file.create_dataset("split", data=plain, chunks=(6, 2, 4))
    for name in ("whole", "split"):
        array = stored(tmp_path / "x.h5", name)
        check(array, plain, [(0, 3), (2, 20)], context=context)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("dtype", ["f4", ">i4"])
def test_chunks_never_written_hold_the_fill_value(
    tmp_path, context, compression, dtype
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset(
            "x", (N,), dtype, chunks=(50,), compression=compression, fillvalue=7
        )
        data[120:130] = 1
        data[700:] = 2
        wide = file.create_dataset(
            "wide", (20, 20), dtype, chunks=(5, 5), compression=compression, fillvalue=7
        )
        wide[3, 4] = 1
        file.create_dataset("none", (10,), dtype, fillvalue=9)
        plain, plain_wide = data[:], wide[:]
    array, array_wide = stored(tmp_path / "x.h5"), stored(tmp_path / "x.h5", "wide")
    check(array, plain, [(0, 5), (40, 130), (40, 130), (90, N)], context=context)
    check(array_wide, plain_wide, [(0, 4), (0, 20), (17, 20)], context=context)
    columns = np.array([0, 4, 17])
    check(array_wide, plain_wide, [(0, 4), (1, 20)], context=context, columns=columns)
    assert stored(tmp_path / "x.h5", "none").read().tolist() == [9] * 10


@pytest.mark.parametrize("layout", ["gzip_one_chunk", "gzip_shuffle", "gzip"])
@pytest.mark.parametrize("dtype", ["f4", ">f4"])
@given(ranges=some_ranges())
@many
def test_giant_chunks_are_decoded_in_windows(
    tmp_path_factory, context, layout, dtype, ranges
) -> None:
    plain = values(N, dtype)
    path = tmp_path_factory.mktemp("giant") / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=plain, **LAYOUTS[layout])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_decoder, "GIANT", 100)
        patch.setattr(chunk_decoder, "WINDOW", 64)
        check(stored(path), plain, ranges, context=context)


@pytest.mark.parametrize("dtype", ["f4", ">f4"])
def test_large_chunks_are_decoded_no_further_than_needed(
    tmp_path, context, dtype
) -> None:
    rng = np.random.default_rng(0)
    plain = rng.poisson(2.0, 150_000).astype(dtype)
    plain[60_000:90_000] = rng.random(30_000)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(40_000,), compression="gzip")
    array = stored(tmp_path / "x.h5")
    for stop in (1, 1000, 9_999, 19_999, 20_000, 20_001, 39_999, 61_000, 81_000):
        ranges = [(stop - 1, stop), (stop, stop + 1), (80_000, 80_000 + stop // 2)]
        check(array, plain, sorted(ranges), context=context)


def test_filter_masks_are_respected(tmp_path, context) -> None:
    plain = values(200, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=plain, chunks=(50,), compression="gzip")
        data.id.write_direct_chunk((50,), plain[50:100].tobytes(), filter_mask=1)
    check(stored(tmp_path / "x.h5"), plain, [(0, 200), (60, 90)], context=context)


@pytest.mark.parametrize("user_block", [512, 4096])
def test_a_user_block_at_the_head_of_the_file(tmp_path, context, user_block) -> None:
    plain = values(N, "f4")
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=user_block) as file:
        for name in ("contiguous", "last_chunk_partial", "gzip"):
            file.create_dataset(name, data=plain, **LAYOUTS[name])
    for name in ("contiguous", "last_chunk_partial", "gzip"):
        array = stored(tmp_path / "x.h5", name)
        check(array, plain, [(0, 10), (3, N)], context=context)


def test_data_and_indices_of_several_files_in_one_call(tmp_path, context) -> None:
    arrays = []
    plain: list[np.ndarray] = []
    for number in range(3):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            for name, dtype in (("data", "f4"), ("indices", "i4")):
                plain.append(values(N, dtype, seed=len(plain)))
                # Appended in turns, so that their chunks interleave.
                file.create_dataset(
                    name, (0,), dtype, maxshape=(None,), chunks=(30 + number,)
                )
            for start in range(0, N, 100):
                for name, array in zip(("data", "indices"), plain[-2:], strict=True):
                    file[name].resize((start + 100,))
                    file[name][start:] = array[start : start + 100]
        arrays += [stored(path, "data"), stored(path, "indices")]
    rng = np.random.default_rng(1)
    starts = np.sort(rng.integers(0, N - 20, 50))
    stops = starts + rng.integers(0, 20, 50)
    offsets = np.cumsum(stops - starts) - (stops - starts)
    targets = [np.empty(int((stops - starts).sum()), a.dtype) for a in arrays]
    zero = np.zeros(50, np.int64)
    requests = [
        Request(array, starts, stops, [target], zero, offsets)
        for array, target in zip(arrays, targets, strict=True)
    ]
    read_requests(requests, context)
    for target, array in zip(targets, plain, strict=True):
        expected = [array[a:b] for a, b in zip(starts, stops, strict=True)]
        np.testing.assert_array_equal(target, np.concatenate(expected))


def test_many_rows_that_lie_together(tmp_path, context) -> None:
    # More places than one system call takes.
    plain = values(10_000, "i4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain)
    ranges = [(i, i + 3) for i in range(0, 9_999, 3)]
    check(stored(tmp_path / "x.h5"), plain, ranges, context=context)


def test_empty_arrays_and_requests(tmp_path, context) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (0,), "f4")
        file.create_dataset("y", (0,), "f4", maxshape=(None,), chunks=(10,))
        file.create_dataset("z", (5, 0), "f4")
    for name, shape in (("x", (0,)), ("y", (0,)), ("z", (5, 0))):
        array = stored(tmp_path / "x.h5", name)
        assert array.read().shape == shape
        check(array, np.empty(shape, "f4"), [(0, 0)], context=context)
    read_requests([], context)


def test_what_an_array_says_about_itself(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(100, dtype=">i4"), chunks=(30,))
        file.create_dataset("y", data=np.arange(100, dtype="f8"))
    array = stored(tmp_path / "x.h5")
    assert (array.file, array.name) == (str(tmp_path / "x.h5"), "/x")
    assert (array.shape, len(array), array.dtype) == ((100,), 100, np.dtype("i4"))
    assert array.chunk_rows == 30
    assert array.nbytes_stored == 4 * 30 * 4
    assert stored(tmp_path / "x.h5", "y").chunk_rows is None
    assert stored(tmp_path / "x.h5", "y").nbytes_stored == 800
    assert "chunks of (30,), not compressed" in repr(array)
    assert array.table.n_bytes_held <= 17 * len(array.table)


def test_threads_that_need_a_chunk_table_make_one(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values(1000, "f4"), chunks=(10,))
    array = stored(tmp_path / "x.h5", "x")
    assert array.grid is not None
    make, together = array.grid.make_table, threading.Barrier(2, timeout=60)
    n_made = 0

    def counted():
        nonlocal n_made
        n_made += 1
        threading.Event().wait(0.05)  # long enough for the other to ask
        return make()

    object.__setattr__(array.grid, "make_table", counted)

    def table(_):
        together.wait()
        return array.table

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(table, range(2))
    assert first is second
    assert n_made == 1


def test_pickles_are_small_and_read_alike(tmp_path) -> None:
    plain = values(N, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(1,), compression="gzip")
    array = stored(tmp_path / "x.h5")
    array.read(0, 3)
    packed = pickle.dumps(array)
    assert len(packed) < 2000
    np.testing.assert_array_equal(pickle.loads(packed).read(), plain)


@pytest.mark.parametrize(
    ("starts", "stops", "which", "offsets", "message"),
    [
        pytest.param([0], [11], [0], [0], "must be in", id="past_the_end"),
        pytest.param([-1], [1], [0], [0], "must be in", id="negative_start"),
        pytest.param([5], [3], [0], [0], "must be in", id="stop_before_start"),
        pytest.param([0], [5], [0], [6], "does not fit", id="past_its_target"),
        pytest.param([0], [5], [0], [-1], "does not fit", id="before_its_target"),
        pytest.param([0], [5], [1], [0], "numbers of targets", id="no_such_target"),
        pytest.param([0], [5], [-1], [0], "numbers of targets", id="negative_target"),
        pytest.param([0, 1], [5], [0], [0], "one length", id="lengths_differ"),
        pytest.param([2**62], [2**62], [0], [0], "must be in", id="far_past_the_end"),
    ],
)
def test_nothing_out_of_bounds_is_read_or_written(
    tmp_path, context, starts, stops, which, offsets, message
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(10, dtype="f4"))
    numbers = [np.array(part, np.int64) for part in (starts, stops, which, offsets)]
    request = Request(
        stored(tmp_path / "x.h5"),
        numbers[0],
        numbers[1],
        [np.empty(10, "f4")],
        numbers[2],
        numbers[3],
    )
    with pytest.raises(ValueError, match=message):
        read_requests([request], context)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(np.empty(10, "i8"), id="other_type"),
        pytest.param(np.empty((10, 1), "f4"), id="other_shape"),
        pytest.param(np.empty(20, "f4")[::2], id="not_contiguous"),
        pytest.param(np.frombuffer(bytes(40), "f4"), id="read_only"),
    ],
)
def test_targets_must_be_writable_arrays_of_the_type(tmp_path, context, target) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(10, dtype="f4"))
    zero, ten = np.zeros(1, np.int64), np.full(1, 10)
    request = Request(stored(tmp_path / "x.h5"), zero, ten, [target], zero, zero)
    with pytest.raises(ValueError, match="C-contiguous float32"):
        read_requests([request], context)


def test_columns_out_of_range_are_refused(tmp_path, context) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((4, 3), "f4"))
        file.create_dataset("flat", data=np.zeros(4, "f4"))
    zero, four = np.zeros(1, np.int64), np.full(1, 4)
    for name, columns, message in (
        ("x", [3], r"columns must be in \[0, 3\)"),
        ("x", [-1], r"columns must be in \[0, 3\)"),
        ("flat", [0], "not 2-D"),
    ):
        target = [np.empty((4, 1), "f4")]
        array = stored(tmp_path / "x.h5", name)
        request = Request(array, zero, four, target, zero, zero, np.array(columns))
        with pytest.raises(ValueError, match=message):
            read_requests([request], context)


def test_read_out_of_bounds_is_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(10, dtype="f4"))
    with pytest.raises(ValueError, match=r"rows must be in \[0, 10\]"):
        stored(tmp_path / "x.h5").read(3, 11)
