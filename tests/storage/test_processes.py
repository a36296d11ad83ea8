"""Arrays go to other processes, however those are started."""

import multiprocessing
import os
import warnings

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ReadContext, StoredArray
from tests.storage.oracle import stored, values

KEPT: list[tuple[StoredArray, ReadContext]] = []


def read_in_child(array: StoredArray, queue) -> None:
    with ReadContext(2) as context:
        queue.put(array.read(100, 20_000, context=context).sum())


def read_what_was_inherited(queue) -> None:
    array, context = KEPT[0]
    queue.put(array.read(100, 20_000, context=context).sum())


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pickled_arrays_read_in_any_process(tmp_path, method) -> None:
    plain = values(20_000, "i8")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(64,), compression="gzip")
    array = stored(tmp_path / "x.h5")
    with ReadContext(2) as context:
        array.read(context=context)
        start = multiprocessing.get_context(method)
        queue = start.SimpleQueue()
        process = start.Process(target=read_in_child, args=(array, queue))
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork while threads run, which is what is tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        process.join(60)
        assert process.exitcode == 0
        assert queue.get() == plain[100:].sum()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("reader", ["libc", "seek"])
def test_a_forked_context_opens_its_own_files_and_threads(tmp_path, reader) -> None:
    plain = values(20_000, "i8")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(64,), compression="gzip")
    array = stored(tmp_path / "x.h5")
    with ReadContext(2, reader=reader) as context:
        array.read(context=context)
        KEPT[:] = [(array, context)]
        start = multiprocessing.get_context("fork")
        queue = start.SimpleQueue()
        process = start.Process(target=read_what_was_inherited, args=(queue,))
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork while threads run, which is what is tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        process.join(60)
        assert process.exitcode == 0
        assert queue.get() == plain[100:].sum()
        np.testing.assert_array_equal(array.read(context=context), plain)
    KEPT.clear()
