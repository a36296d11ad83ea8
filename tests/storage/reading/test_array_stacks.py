"""Arrays of many files that are read together: the same as each on its own."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError, FileChangedError
from scdataset_core.storage import (
    ArrayStack,
    ReadContext,
    StackRead,
    StoredArray,
    read_requests,
    read_stack,
)
from scdataset_core.storage.reading import array_stacks, stacked_reads

# How the values of the files are stored; their columns lie in chunks of other sizes.
LAYOUTS = {
    "plain": [{"chunks": (n,)} for n in (7, 10, 64, 110)],
    "contiguous and chunked": [{}, {"chunks": (11,)}, {}],
    "some compressed": [{"chunks": (9,)}, {"chunks": (9,), "compression": "gzip"}],
    "all compressed": [{"chunks": (9,), "compression": "gzip"}] * 2,
    "other types": [{}, {"dtype": "f8"}, {"dtype": ">f4"}, {"chunks": (5,)}],
    "narrow": [{"dtype": "u1"}, {"dtype": "u1", "chunks": (13,)}],
    "one file": [{"chunks": (10,)}],
}


def write(path, layout, n, seed):
    """Write values and columns; return the arrays of the file, and what they hold."""
    rng = np.random.default_rng(seed)
    plain = rng.poisson(3.0, n), rng.integers(0, 1 << 20, n)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=plain[0], **{"dtype": "f4", **layout})
        chunks = layout.get("chunks", (8,))[0] + 1
        file.create_dataset("indices", data=plain[1], dtype="i4", chunks=(chunks,))
    with h5py.File(path, "r") as file:
        return [
            StoredArray.from_hdf5(file[name]) for name in ("data", "indices")
        ], plain


def ask(stack, ranges, n_targets=3, seed=0, dtypes=("f4", "i4")):
    """Return a read of ranges ``(file, start, stop)`` to places in random order."""
    rng = np.random.default_rng(seed)
    files, starts, stops = np.array(ranges, np.int64).reshape(-1, 3).T
    which = rng.integers(0, n_targets, len(ranges))
    offsets = np.zeros(len(ranges), np.int64)
    sizes = [0] * n_targets
    for i in rng.permutation(len(ranges)).tolist():
        offsets[i] = sizes[which[i]]
        sizes[which[i]] += int(stops[i] - starts[i])
    targets = [[np.empty(size, dtype) for size in sizes] for dtype in dtypes]
    return StackRead(stack, files, starts, stops, which, offsets, targets)


def compare(read, plain):
    """Compare what was read with what the files hold."""
    columns = read.files, read.starts, read.stops, read.which, read.offsets
    for file, start, stop, which, at in zip(*columns, strict=True):
        for targets, values in zip(read.targets, plain[file], strict=True):
            got = targets[which][at : at + stop - start]
            np.testing.assert_array_equal(got, values[start:stop])


def random_ranges(rng, sizes, n):
    """Return sorted ranges in files, some of them empty, touching or the same."""
    files = np.sort(rng.integers(0, len(sizes), n))
    starts = np.array([rng.integers(0, sizes[file] + 1) for file in files])
    order = np.lexsort((starts, files))
    files, starts = files[order], starts[order]
    stops = np.minimum(starts + rng.integers(0, 30, n), np.array(sizes)[files])
    ranges = list(zip(files.tolist(), starts.tolist(), stops.tolist(), strict=True))
    return sorted([*ranges, *ranges[:2]])


@pytest.mark.parametrize("few_chunks", [256, 2])
@pytest.mark.parametrize("layouts", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtypes", [("f4", "i4"), ("f8", "i8")], ids=["own", "wider"])
def test_every_range_comes_to_its_place(
    tmp_path, monkeypatch, layouts, few_chunks, dtypes
):
    if any(layout.get("dtype") == "f8" for layout in layouts):
        dtypes = ("f8", dtypes[1])
    monkeypatch.setattr(array_stacks, "FEW_CHUNKS", few_chunks)
    sizes = [60 + 17 * i for i in range(len(layouts))]
    made = [
        write(tmp_path / f"{i}.h5", layout, n, i)
        for i, (layout, n) in enumerate(zip(layouts, sizes, strict=True))
    ]
    stack = ArrayStack([arrays for arrays, _ in made])
    plain = [values for _, values in made]
    rng = np.random.default_rng(0)
    with ReadContext(1) as context, ThreadPoolExecutor(1) as pool:
        for seed, n in enumerate([1, 5, 40]):
            read = ask(stack, random_ranges(rng, sizes, n), seed=seed, dtypes=dtypes)
            if seed:  # a thread that is not the main one has a ring
                pool.submit(read_stack, read, context).result()
            else:
                read_stack(read, context)
            compare(read, plain)
        read_stack(ask(stack, []), context)
        read_stack(ask(stack, [(0, 5, 5)]), context)


def test_plain_arrays_are_read_together_and_others_one_by_one(tmp_path, monkeypatch):
    calls = []

    def count(requests, context):
        calls.append([request.array.file for request in requests])
        read_requests(requests, context)

    monkeypatch.setattr(stacked_reads, "read_requests", count)
    layouts = [{}, {"chunks": (9,), "compression": "gzip"}, {}]
    made = [write(tmp_path / f"{i}.h5", a, 50, i) for i, a in enumerate(layouts)]
    stack = ArrayStack([arrays for arrays, _ in made])
    with ReadContext(1) as context:
        for ranges in ([(0, 3, 9), (2, 1, 2)], [(0, 3, 9), (1, 4, 8), (2, 1, 2)]):
            read = ask(stack, ranges)
            read_stack(read, context)
            compare(read, [values for _, values in made])
    assert calls == [[str(tmp_path / "1.h5")] * 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"stops": 51}, "must be in", id="past_the_end"),
        pytest.param({"starts": -1}, "must be in", id="negative_start"),
        pytest.param({"starts": 30}, "must be in", id="stop_before_start"),
        pytest.param({"offsets": 10**6}, "does not fit", id="past_its_target"),
        pytest.param({"offsets": -1}, "does not fit", id="before_its_target"),
        pytest.param({"which": 3}, "numbers of targets", id="no_such_target"),
        pytest.param({"which": -1}, "numbers of targets", id="negative_target"),
    ],
)
def test_nothing_out_of_bounds_is_read_or_written(tmp_path, change, message):
    arrays, _ = write(tmp_path / "x.h5", {}, 50, 0)
    read = ask(ArrayStack([arrays]), [(0, 0, 10), (0, 20, 25)])
    for name, value in change.items():
        getattr(read, name)[-1] = value
    with ReadContext(1) as context, pytest.raises(ValueError, match=message):
        read_stack(read, context)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(np.empty(10, "S4"), id="other_type"),
        pytest.param(np.empty((10, 1), "f4"), id="other_shape"),
        pytest.param(np.empty(20, "f4")[::2], id="not_contiguous"),
        pytest.param(np.frombuffer(bytes(40), "f4"), id="read_only"),
        pytest.param(np.empty(9, "f4"), id="shorter"),
    ],
)
def test_targets_must_be_writable_arrays(tmp_path, target):
    arrays, _ = write(tmp_path / "x.h5", {}, 50, 0)
    read = ask(ArrayStack([arrays]), [(0, 0, 10)], 1)
    read.targets[0][0] = target
    match = "writable C-contiguous|does not fit"
    with ReadContext(1) as context, pytest.raises(ValueError, match=match):
        read_stack(read, context)


def test_a_number_that_does_not_fit_its_target_becomes_minus_1(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = np.arange(6, dtype="f4")
        file["indices"] = np.array([1, 2**31, 2**32 + 1, -5, -(2**40), 6])
    with h5py.File(tmp_path / "x.h5") as file:
        arrays = [StoredArray.from_hdf5(file[name]) for name in ("data", "indices")]
    read = ask(ArrayStack([arrays]), [(0, 0, 6)], 1)
    with ReadContext(1) as context:
        read_stack(read, context)
    assert read.targets[1][0].tolist() == [1, -1, -1, -5, -1, 6]


@pytest.mark.parametrize("open_before", [True, False])
def test_a_file_that_changed_is_an_error_that_names_it(tmp_path, open_before):
    made = [write(tmp_path / f"{i}.h5", {}, 50, i) for i in range(3)]
    stack = ArrayStack([arrays for arrays, _ in made])
    ranges = [(file, 3, 9) for file in range(3)]
    with ReadContext(1) as context:
        read_stack(ask(stack, ranges), context)
        if not open_before:
            context.close()
        status = (tmp_path / "1.h5").stat()
        os.utime(tmp_path / "1.h5", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        with pytest.raises(FileChangedError, match=r"1\.h5 changed since"):
            read_stack(ask(stack, ranges), context)
        read_stack(ask(stack, [(0, 3, 9), (2, 3, 9)]), context)
        (tmp_path / "2.h5").unlink()
        (tmp_path / "2.h5").write_bytes(b"another file")
        context.sources.close()
        with pytest.raises(FileChangedError, match=r"2\.h5 changed since"):
            read_stack(ask(stack, [(0, 3, 9), (2, 3, 9)]), context)


def test_a_chunk_that_was_never_written_is_named(tmp_path):
    made = [write(tmp_path / f"{i}.h5", {"chunks": (10,)}, 50, i) for i in range(2)]
    with h5py.File(tmp_path / "1.h5", "r+") as file:
        del file["data"]
        new = file.create_dataset("data", (50,), "f4", chunks=(10,))
        new[:10] = 1
    with h5py.File(tmp_path / "1.h5") as file:
        data = StoredArray.from_hdf5(file["data"], whole=True)
        indices = StoredArray.from_hdf5(file["indices"])
    stack = ArrayStack([made[0][0], [data, indices]])
    with ReadContext(1) as context:
        read_stack(ask(stack, [(0, 3, 9), (1, 0, 9)]), context)
        match = r"1\.h5: data set /data, chunk 1 .* it is missing"
        with pytest.raises(CorruptFileError, match=match):
            read_stack(ask(stack, [(0, 3, 9), (1, 9, 12)]), context)


def test_a_table_that_lists_too_few_chunks_leads_to_no_other_file(tmp_path):
    made = [write(tmp_path / f"{i}.h5", {"chunks": (10,)}, 50, i) for i in range(2)]
    table = made[0][0][0].table
    object.__setattr__(table, "offsets", table.offsets[:2])
    object.__setattr__(table, "sizes", table.sizes[:2])
    stack = ArrayStack([arrays for arrays, _ in made])
    with ReadContext(1) as context, pytest.raises(IndexError, match="out of bounds"):
        read_stack(ask(stack, [(0, 21, 25), (1, 3, 9)]), context)


def test_what_is_known_of_files_is_not_pickled(tmp_path):
    made = [write(tmp_path / f"{i}.h5", {}, 50, i) for i in range(3)]
    stack = ArrayStack([arrays for arrays, _ in made])
    before = len(pickle.dumps(stack))
    with ReadContext(1) as context:
        read_stack(ask(stack, [(0, 3, 9)]), context)
        assert len(pickle.dumps(stack)) == before
        read = ask(pickle.loads(pickle.dumps(stack)), [(0, 3, 9), (2, 0, 50)])
        read_stack(read, context)
    compare(read, [values for _, values in made])
