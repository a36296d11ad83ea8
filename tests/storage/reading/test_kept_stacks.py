"""Stacks of arrays that caches keep whole: read together, and the same as decoded."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ArrayStack, ReadContext, StoredArray, read_stack
from scdataset_core.storage.cache import Cache
from scdataset_core.storage.cache.filling import attach_cache, fill_caches
from scdataset_core.storage.reading import kept_reads, stacked_reads
from scdataset_core.storage.reading.merged_reads import tasks_of
from tests.storage.reading.test_array_stacks import ask, compare, random_ranges

SIZES = [300, 1, 451]
HIGH = [1 << 15, 200, 1 << 20]  # of column ids: kept in two bytes, in one, in four


def write(folder, number, n, high, dtype="i4"):
    """Write compressed values and columns; return their arrays, and what they hold."""
    rng = np.random.default_rng(number)
    values, columns = rng.poisson(3.0, n), rng.integers(0, high, n)
    options = {"compression": "gzip"}
    with h5py.File(folder / f"{number}.h5", "w") as file:
        file.create_dataset(
            "data", data=values, dtype="f4", chunks=(min(n, 25),), **options
        )
        file.create_dataset(
            "indices", data=columns, dtype=dtype, chunks=(min(n, 17),), **options
        )
    with h5py.File(folder / f"{number}.h5") as file:
        arrays = [StoredArray.from_hdf5(file[name]) for name in ("data", "indices")]
    attach_cache(arrays, Cache(folder / "cache"))
    return arrays, (values, columns)


def open_stack(folder, highs, dtype="i4"):
    made = [
        write(folder, number, n, high, dtype)
        for number, (n, high) in enumerate(zip(SIZES, highs, strict=True))
    ]
    arrays = [array for some, _ in made for array in some]
    assert fill_caches(arrays, None, 1) == 1.0
    return ArrayStack([some for some, _ in made]), [plain for _, plain in made], arrays


def read_all(stack, plain, context, n=30, seed=0):
    rng = np.random.default_rng(seed)
    read = ask(stack, random_ranges(rng, SIZES, n), seed=seed)
    bounds = read_stack(read, context)
    compare(read, plain)
    return read, bounds


@pytest.fixture
def nothing_else(monkeypatch):
    """Fail if arrays are asked for one by one."""

    def refuse(requests, context):
        pytest.fail("the arrays were read one by one")

    return lambda: monkeypatch.setattr(stacked_reads, "read_requests", refuse)


@pytest.mark.parametrize("dtype", ["i4", "i8"])
def test_arrays_kept_in_one_type_are_read_together(tmp_path, nothing_else, dtype):
    stack, plain, _ = open_stack(tmp_path, [1 << 15] * 3, dtype)
    with ReadContext(2) as context:
        for seed in range(10):  # which looks at all chunks
            read_all(stack, plain, context, 60, seed)
        n_decoded = context.stats.chunks_decoded
        nothing_else()
        for seed in range(10):
            before = context.stats.chunks_cached
            read, bounds = read_all(stack, plain, context, seed=seed)
            most = max(target.max(initial=0) for target in read.targets[1])
            assert bounds[0] is None
            assert bounds[1] is not None
            assert bounds[1] >= most
            assert context.stats.chunks_cached > before
        assert context.stats.chunks_decoded == n_decoded == 0


def test_arrays_kept_in_several_types_are_read_too(tmp_path):
    stack, plain, _ = open_stack(tmp_path, HIGH)
    with ReadContext(1) as context:
        for seed in range(20):
            read_all(stack, plain, context, seed=seed)
        assert context.stats.chunks_decoded == 0


def test_ids_too_large_for_their_targets_become_minus_1(tmp_path):
    stack, (first, *_), _ = open_stack(tmp_path, [2**32, 2**32, 2**32], "i8")
    with ReadContext(1) as context:
        for _ in range(3):
            read = ask(stack, [(0, 0, 300)], 1)
            read_stack(read, context)
    want = np.where(first[1] < 2**31, first[1], -1)
    np.testing.assert_array_equal(read.targets[1][0], want)


def test_a_cache_that_cannot_be_read_is_left_aside(tmp_path, monkeypatch):
    stack, plain, _ = open_stack(tmp_path, [1 << 15] * 3)
    with ReadContext(1) as context:
        for seed in range(10):
            read_all(stack, plain, context, 60, seed)

        def fail(*_):
            raise OSError("the disk is gone")

        monkeypatch.setattr(kept_reads, "tasks_of", fail)
        with pytest.warns(RuntimeWarning, match="the disk is gone"):
            read_all(stack, plain, context)


def test_what_was_changed_while_it_was_read_is_read_again(tmp_path, monkeypatch):
    stack, plain, _ = open_stack(tmp_path, [1 << 15] * 3)
    with ReadContext(1) as context:
        for seed in range(10):
            read_all(stack, plain, context, 60, seed)
        changed: list[Path] = []

        def change(parts):
            if not changed:
                for path in (tmp_path / "cache").rglob("*"):
                    if path.is_file() and path.stat().st_size > 500:
                        data = bytearray(path.read_bytes())
                        data[:500] = bytes(500)
                        with path.open("r+b") as file:
                            file.write(data)
                        changed.append(path)
            return tasks_of(parts)

        monkeypatch.setattr(kept_reads, "tasks_of", change)
        with pytest.warns(RuntimeWarning, match="is not what was kept"):
            read_all(stack, plain, context)
        assert changed


def test_empty_ranges_do_not_shift_what_is_found_of_other_arrays(tmp_path):
    """An empty range has no piece, and one that crosses a chunk has two."""
    arrays, plain = write(tmp_path, 0, 100, 1 << 15)
    with ReadContext(1) as context:
        # Of the values the chunks 0, 1 and 2 are kept, of the columns all.
        arrays[0].read(0, 75, context=context)
        arrays[1].read(0, 100, context=context)
        for array in arrays:
            array.chunk_cache.cache.process.writer.flush(5.0)
        read = ask(ArrayStack([arrays]), [(0, 20, 30), (0, 70, 80), (0, 90, 90)])
        read_stack(read, context)
    compare(read, [plain])
