"""The system is asked for what is not in memory, and only for that."""

import os

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ReadContext
from scdataset_core.storage.reading import read_advice as advice
from tests.storage.oracle import check, stored, values

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="this system takes no advice"
)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("cold", [True, False])
def test_ranges_are_asked_for_where_they_are_cold(
    tmp_path, monkeypatch, compression, cold
) -> None:
    plain = values(100_000, "f8")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(500,), compression=compression)
    array = stored(tmp_path / "x.h5")
    asked: list[tuple[int, int]] = []

    def note(fd: int, start: int, n_bytes: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        asked.append((start, start + n_bytes))

    monkeypatch.setattr(os, "posix_fadvise", note)
    monkeypatch.setattr(advice, "_is_cold", lambda fd, position: cold)
    monkeypatch.setattr(advice, "LEAST_BYTES", 1)
    monkeypatch.setattr(advice, "NEAR_BYTES", 0)
    ranges = [(5, 900), (5, 900), (60_000, 60_001), (99_000, 100_000)]
    with ReadContext(2) as context:
        check(array, plain, ranges, context=context)
    if not cold:
        assert asked == []
        return
    assert 1 < len(asked) < 6
    offsets, sizes = array.table.offsets, array.table.sizes
    for start, _ in ranges:
        wanted = int(offsets[start // 500])
        if compression is None:
            wanted += 8 * (start % 500)
        assert any(a <= wanted < b for a, b in asked)
    end = max(b for _, b in asked)
    assert end <= int((offsets + sizes.astype(np.int64)).max())


def test_a_system_without_advice_reads_alike(tmp_path, monkeypatch) -> None:
    plain = values(100_000, "f8")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(500,))
    monkeypatch.delattr(os, "posix_fadvise")
    with ReadContext(2) as context:
        check(stored(tmp_path / "x.h5"), plain, [(0, 100_000)], context=context)
