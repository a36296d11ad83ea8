"""Few reads are done one by one, and many by io_uring; both give the same bytes."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scdataset_core.errors import FileChangedError
from scdataset_core.storage import ReadContext
from scdataset_core.storage.io.byte_sources import ShortReadError
from scdataset_core.storage.io.io_uring import Ring, is_available
from scdataset_core.storage.reading.merged_reads import FEW_READS, error_of_read
from tests.storage.oracle import check, stored, values


@pytest.mark.skipif(not is_available(), reason="no io_uring here")
@pytest.mark.parametrize(
    ("n_reads", "n_calls"),
    [
        pytest.param(1, 0, id="one"),
        pytest.param(FEW_READS, 0, id="few"),
        pytest.param(FEW_READS + 1, 1, id="more"),
        pytest.param(3 * FEW_READS, 1, id="many"),
    ],
)
def test_a_ring_is_used_where_there_is_enough_to_read(
    tmp_path, monkeypatch, n_reads, n_calls
):
    plain = values(100_000, "i4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(1000,))
    array = stored(tmp_path / "x.h5")
    done = []
    read = Ring.read

    def count(ring, fd, position, address, n_rows):
        done.append(len(position))
        return read(ring, fd, position, address, n_rows)

    monkeypatch.setattr(Ring, "read", count)
    ranges = [(start, start + 100) for start in range(0, 1000 * n_reads, 1000)]
    with ReadContext(1) as context, ThreadPoolExecutor(1) as pool:
        pool.submit(check, array, plain, ranges, context=context).result()
    assert done == [n_reads] * n_calls


def test_a_read_that_fails_in_a_changed_file_says_that_it_changed(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.arange(100)
    array = stored(tmp_path / "x.h5")
    assert array.table is not None
    failed = OSError(errno.EIO, "Input/output error")
    assert type(error_of_read(array, 0, failed)) is OSError
    assert error_of_read(array, 0, failed).errno == errno.EIO
    os.truncate(tmp_path / "x.h5", 50)
    for error in (failed, ShortReadError(50)):
        assert isinstance(error_of_read(array, 0, error), FileChangedError)
