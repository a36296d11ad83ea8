"""What a cache keeps of an object is found again, and HDF5 waits for no lock of it."""

import shutil
import threading
from contextlib import ExitStack

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.storage.io import fork_safe_lock, open_files
from scdataset_core.storage.remote import block_reader
from scdataset_core.storage.remote.block_reader import (
    BLOCK_BYTES,
    BlockReader,
    keep_blocks,
)
from scdataset_core.storage.remote.identity import ObjectIdentity
from scdataset_core.storage.remote.kept_objects import KeptObject
from scdataset_core.storage.remote.object_source import ObjectSource

VALUES = np.random.default_rng(0).integers(0, 256, 2 * BLOCK_BYTES + 7, np.uint8)


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Return a cache that keeps all of an object, and what opens that and counts."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["values"] = VALUES
    stored, asked = path.read_bytes(), []

    def fetch(name, start, stop, expected):
        asked.append((start, stop))
        return stored[start:stop]

    cache = scd.Cache(tmp_path / "cache")
    identity = ObjectIdentity(len(stored), "first")

    def opened():
        # As in another process.
        monkeypatch.setattr(block_reader, "_held", block_reader._HeldBlocks())
        kept = KeptObject(cache, "mem://a.h5", identity, store=object())
        return BlockReader(ObjectSource("mem://a.h5", identity, fetch), kept)

    assert read(opened()).all()
    keep_blocks()
    cache.process.writer.flush(30.0)
    asked.clear()
    return cache, opened, asked


def read(reader):
    with h5py.File(reader) as file:
        return file["values"][:] == VALUES


def read_while_locked(reader, cache):
    """Read in another thread, while this one has every lock that threads share."""
    found = []
    thread = threading.Thread(target=lambda: found.append(read(reader)), daemon=True)
    process = cache.process
    with ExitStack() as held:
        for lock in (
            fork_safe_lock.first_use_lock(),
            open_files._lock,
            process.lock,
            process.writer.lock,
            process.writer._changed,
        ):
            held.enter_context(lock)
        thread.start()
        thread.join(20.0)  # it takes some milliseconds, or waits for ever
    return found


def test_what_is_kept_is_not_asked_for_again(known):
    _, opened, asked = known
    assert read(opened()).all()
    assert asked == []


def test_hdf5_finds_what_is_kept_without_a_lock(known):
    """Whoever has one may wait for HDF5, as the collector does in any thread."""
    cache, opened, asked = known
    (found,) = read_while_locked(opened(), cache)
    assert found.all()
    assert asked == []


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_hdf5_asks_for_what_is_lost_without_a_lock(known, harm):
    cache, opened, asked = known
    reader = opened()
    if harm == "removed":
        shutil.rmtree(cache.folder)
    else:
        for path in cache.folder.rglob("*.data*"):
            if size := path.stat().st_size:
                path.write_bytes(bytes(size))
    (found,) = read_while_locked(reader, cache)
    assert found.all()
    assert asked
    keep_blocks()
