"""Lists of mapped Arrow files are found where they lie."""

import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
from scdataset_core.sources.tables.mapped_lists import MappedLists  # noqa: E402  # needs pyarrow


class TwoFiles:
    """A table whose batches lie in a file each."""

    starts = np.array([0, 3, 6])

    def __init__(self, folder):
        self.batches = []
        for number in range(2):
            lists = pa.array([[number, i] for i in range(3)])
            batch = pa.record_batch({"genes": lists})
            path = folder / f"{number}.arrow"
            with (
                pa.OSFile(str(path), "wb") as file,
                pa.ipc.new_file(file, batch.schema) as writer,
            ):
                writer.write_batch(batch)
            opened = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches.append(opened.get_batch(0))

    def read(self, group, columns):
        return [self.batches[group].column(name) for name in columns]


class Views(list[list[tuple[Any, Any]]]):
    """Holds up whoever adds to it until another thread has, or may not."""

    def __init__(self):
        super().__init__()
        self.both = threading.Barrier(2, timeout=0.3)

    def append(self, view):
        super().append(view)
        with suppress(threading.BrokenBarrierError):
            self.both.wait()


def test_threads_that_begin_with_two_files_keep_them_apart(tmp_path):
    lists = MappedLists(TwoFiles(tmp_path), ("genes",))
    lists._views = Views()
    threads = [
        threading.Thread(target=lists.find, args=(np.array([row]),)) for row in (1, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks, apart = lists.find(np.arange(6))
    assert not apart.any()
    found = {
        int(row): elements[start : start + n].tolist()
        for (columns,) in tasks
        for row, start, n in zip(*columns[:3], strict=True)
        for elements in [columns[3]]
    }
    assert found == {row: [row // 3, row % 3] for row in range(6)}
