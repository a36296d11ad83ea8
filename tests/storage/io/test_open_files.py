"""Open files: as many as the limit of the process lets be, whatever a fetch touches."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scdataset_core.errors import FileChangedError
from scdataset_core.storage import ReadContext, StoredArray
from scdataset_core.storage.io import open_files as module
from scdataset_core.storage.io.byte_sources import Location
from scdataset_core.storage.io.identities import Identity
from scdataset_core.storage.io.open_files import OpenFile, OpenSources
from scdataset_core.storage.reading import merged_reads as groups
from tests.storage.oracle import check

resource = pytest.importorskip("resource")


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_all", {})  # no context of other tests
    for number in range(12):
        (tmp_path / str(number)).write_bytes(b"cells")
    return [str(tmp_path / str(number)) for number in range(12)]


@pytest.mark.parametrize("other", [(1, 0), (0, 1), (0, -1), (-1, 0), (3, 7)])
def test_an_open_file_serves_where_identities_are_equal(paths, other):
    file = OpenFile(paths[0])
    was = Identity.of(file.descriptor)
    assert file.serves(was)
    assert file.serves(None)
    changed = Identity(was.n_bytes + other[0], was.mtime_ns + other[1])
    assert changed != was
    assert not file.serves(changed)
    touched = Identity(was.n_bytes, was.mtime_ns, was.ctime_ns + 1)
    assert touched == was
    assert file.serves(touched)


def test_contexts_share_what_may_be_open(monkeypatch, paths):
    monkeypatch.setattr(module, "most_open", lambda: 6)
    first, second = OpenSources(), OpenSources()
    for path in paths:
        first.get(Location(path))
        second.get(Location(path))
    assert (len(first._open), len(second._open)) == (3, 3)


def test_a_context_with_a_bound_of_its_own_takes_nothing_from_others(
    monkeypatch, paths
):
    monkeypatch.setattr(module, "most_open", lambda: 6)
    bound, other = OpenSources(most=2), OpenSources()
    for path in paths:
        bound.get(Location(path))
        other.get(Location(path))
    assert (len(bound._open), len(other._open)) == (2, 6)
    monkeypatch.setattr(module, "most_open", lambda: 1)
    bound.get(Location(paths[0]))
    assert len(bound._open) == 1


def test_several_sources_are_open_at_a_time_the_last_ones_stay_so(monkeypatch, paths):
    monkeypatch.setattr(module, "most_open", lambda: 3)
    sources = OpenSources()
    files = sources.get_all([Location(path) for path in paths])
    assert [os.fstat(file.descriptor).st_size for file in files] == [5] * len(paths)
    assert list(sources._open) == paths[-3:]
    again = sources.get_all([Location(path) for path in reversed(paths)])
    assert again[:3] == files[:-4:-1]
    assert list(sources._open) == paths[2::-1]


def test_where_one_of_several_changed_what_was_opened_is_bounded(monkeypatch, paths):
    monkeypatch.setattr(module, "most_open", lambda: 3)
    sources = OpenSources()
    wanted = [Location(path, Identity.of(path)) for path in paths]
    wanted[8] = Location(paths[8], Identity(7, 7))
    with pytest.raises(FileChangedError, match="8 changed since"):
        sources.get_all(wanted)
    assert list(sources._open) == paths[5:8]


def refused_until(n_refusals, monkeypatch):
    """Have the system refuse to open files so many times."""
    left = [n_refusals]
    opened = module.OpenFile

    def open_file(path, reader):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return opened(path, reader)

    monkeypatch.setattr(module, "OpenFile", open_file)


def test_where_no_file_can_be_opened_idle_ones_of_all_contexts_are_closed(
    monkeypatch, paths
):
    first, second = OpenSources(), OpenSources()
    first.get(Location(paths[0]))
    second.get(Location(paths[1]))
    refused_until(1, monkeypatch)
    opened = second.get(Location(paths[2]))
    assert isinstance(opened, OpenFile)
    assert opened.path == paths[2]
    assert (list(first._open), list(second._open)) == ([], [paths[2]])


def test_where_still_none_can_be_opened_the_limit_is_named(monkeypatch, paths):
    refused_until(2, monkeypatch)
    with pytest.raises(OSError, match=r"raise its limit \(ulimit -n\)") as caught:
        OpenSources().get(Location(paths[0]))
    assert caught.value.errno == errno.EMFILE
    assert caught.value.filename == paths[0]


class BeginsAnother(OpenSources):
    """Sources beside which others are made while they are looked at."""

    made: list[OpenSources]

    @property
    def _open(self):
        self.made.append(OpenSources())
        return {}

    @_open.setter
    def _open(self, opened):
        self.made = []


def test_another_context_may_begin_while_a_file_is_opened(paths):
    sources, others = OpenSources(), [BeginsAnother() for _ in range(3)]
    sources.get(Location(paths[0], None, None))
    assert all(other.made for other in others)


def test_sources_close_while_another_thread_opens_one(paths):
    """A collector that closes them may run in a thread that the other one waits for."""
    sources = OpenSources()
    file = sources.get(Location(paths[0], None, None))
    thread = threading.Thread(target=sources.close, daemon=True)
    with module._lock:
        thread.start()
        thread.join(30)
    assert not thread.is_alive()
    assert sources.get(Location(paths[0], None, None)) is not file


@pytest.mark.parametrize("rings", [True, False])
def test_a_read_has_few_of_its_files_open_at_a_time(tmp_path, monkeypatch, rings):
    zarr = pytest.importorskip("zarr")
    plain = np.arange(400, dtype=np.int32)
    folder = zarr.open_group(tmp_path, mode="w", zarr_format=2)
    made = folder.create_array("x", data=plain, chunks=(10,), compressors=None)
    array = StoredArray.from_zarr(made)
    live: weakref.WeakSet[module.OpenFile] = weakref.WeakSet()
    most = [0]
    opened = module.OpenFile

    def open_file(path, reader):
        file = opened(path, reader)
        live.add(file)
        most[0] = max(most[0], len(live))
        return file

    monkeypatch.setattr(module, "OpenFile", open_file)
    for limited in (module, groups):
        monkeypatch.setattr(limited, "most_open", lambda: 4)
    if not rings:
        monkeypatch.setattr("scdataset_core.storage.context.is_available", bool)
    with ReadContext(2) as context, ThreadPoolExecutor(1) as other:
        ranges = [(i, i + 3) for i in range(0, 397, 4)]
        other.submit(check, array, plain, ranges, context=context).result()
    assert 1 < most[0] <= 10


READ = """
    import resource, sys
    import numpy as np
    import scdataset_core as scd
    from scdataset_core.storage import context

    path, rings, limit = sys.argv[1], sys.argv[2] == "rings", int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if not rings:
        context.is_available = lambda: False
    source = scd.open(path)
    for _ in range(2):
        loader = scd.Loader(
            source, scd.BlockShuffling(1), batch_size=64, fetch_factor=8, threads=4
        )
        seen = 0
        for batch in loader:
            first = batch["X"][:, [0]].toarray()[:, 0]
            assert np.array_equal(first, batch["index"] + 1)
            seen += len(batch["index"])
        assert seen == len(source)
    print("read", seen)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rings", ["rings", "no rings"])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_fetch_may_touch_more_files_than_may_be_open(tmp_path, kind, rings):
    import anndata as ad
    import scipy.sparse as sp

    def cells(start, stop):
        x = np.ones((stop - start, 5), np.float32)
        x[:, 0] = np.arange(start, stop) + 1
        return ad.AnnData(sp.csr_matrix(x))

    if kind == "h5ad":
        for number in range(100):
            cells(9 * number, 9 * number + 9).write_h5ad(tmp_path / f"{number:03}.h5ad")
        path = str(tmp_path / "*.h5ad")
    else:
        zarr = pytest.importorskip("zarr")
        path = str(tmp_path / "a.zarr")
        store = zarr.open_group(path, mode="w", zarr_format=2)
        options = {"compressor": None, "chunks": (30,)}
        ad.io.write_elem(store, "/", cells(0, 900), dataset_kwargs=options)
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ), path, rings, "65"],
        capture_output=True,
        text=True,
    )
    assert out.stdout.strip() == "read 900", out.stderr
