"""A resumable file is brought back to its last checkpoint, whatever came after it."""

import os
import platform
import signal
from typing import Any

import numpy as np
import pytest

from scdataset_core.tools import resumable_file
from scdataset_core.tools.resumable_file import write_resumably

STATE = {"killed": False}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def killed_runs_remove_nothing(monkeypatch):
    """Do as if the process were gone, by which nothing is removed."""
    remove = resumable_file._remove
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def keep(unfinished):
        if not STATE["killed"]:
            remove(unfinished)

    STATE["killed"] = False
    monkeypatch.setattr(resumable_file, "_remove", keep)


def run(path, write, key="key"):
    """Return whether a run came to its end."""
    try:
        write_resumably(path, key, write)
    except Killed:
        return False
    finally:
        STATE["killed"] = False
    return True


def die():
    STATE["killed"] = True
    raise Killed


@pytest.mark.parametrize("seed", range(12))
def test_writes_anywhere_after_a_checkpoint_are_undone(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "file"
    kept: dict[str, Any] = {"bytes": b"", "facts": None}

    def write(disk):
        assert disk.facts == kept["facts"]
        assert disk._path.stat().st_size == len(kept["bytes"])
        content = bytearray(kept["bytes"])
        for _ in range(int(rng.integers(1, 30))):
            at, n = int(rng.integers(0, 300)), int(rng.integers(0, 60))
            data = rng.integers(0, 256, n, np.uint8).tobytes()
            what = rng.random()
            if what < 0.1 and content:
                size = int(rng.integers(0, len(content) + 50))
                content[size:] = b""
                content += bytes(size - len(content))
                disk.truncate(size)
            elif what < 0.25:
                kept["facts"] = {"n": len(content), "seed": seed}
                kept["bytes"] = bytes(content)
                disk.checkpoint(kept["facts"])
            elif n:
                content += bytes(max(at - len(content), 0))
                content[at : at + n] = data
                disk.seek(at)
                assert disk.write(data) == n
                assert disk.tell() == at + n
        if rng.random() < 0.8:
            die()
        kept["done"] = bytes(content)

    while not run(path, write):
        assert not path.exists()
    assert path.read_bytes() == kept["done"]
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


class TakesLittle:
    """A file on a full or remote disk, which takes a part of what it is given."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        return self._file.write(data[:5])

    def close(self):
        self._file.close()


def test_old_bytes_are_kept_whole_where_a_write_takes_a_part(tmp_path):
    def write(disk):
        disk.write(bytes(range(50)))
        disk.checkpoint({"n": 50})
        disk._log = TakesLittle(disk._log)
        disk.seek(10)
        disk.write(bytes(30))
        die()

    assert not run(tmp_path / "file", write)
    assert run(tmp_path / "file", lambda disk: None)
    assert (tmp_path / "file").read_bytes() == bytes(range(50))


def write_some(disk):
    disk.write(b"some")
    disk.checkpoint({"n": 4})
    die()


def test_a_run_of_another_key_starts_anew(tmp_path):
    assert not run(tmp_path / "file", write_some)
    seen = []
    assert run(tmp_path / "file", lambda disk: seen.append(disk.facts), key="other")
    assert seen == [None]
    assert (tmp_path / "file").read_bytes() == b""


def test_a_file_that_a_living_run_writes_is_left_alone(tmp_path, monkeypatch):
    assert not run(tmp_path / "file", write_some)
    names = sorted(path.name for path in tmp_path.iterdir())
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)  # and `mine` lives
    seen = []
    assert run(tmp_path / "file", lambda disk: seen.append(disk.facts))
    assert seen == [None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", *names]


def test_a_file_that_another_host_writes_is_left_alone(tmp_path, monkeypatch):
    host = ["one"]
    monkeypatch.setattr(platform, "node", lambda: host[0])
    assert not run(tmp_path / "file", write_some)
    names = sorted(path.name for path in tmp_path.iterdir())
    host[0] = "two"  # where the process has the same number, as in containers
    seen = []
    assert run(tmp_path / "file", lambda disk: seen.append(disk.facts))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", *names]
    host[0] = "one"
    assert run(tmp_path / "file", lambda disk: seen.append(disk.facts))
    assert seen == [None, {"n": 4}]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_signal_leaves_what_a_checkpoint_noted(tmp_path):
    def stop(disk):
        disk.write(b"some")
        os.kill(os.getpid(), signal.SIGINT)
        assert disk.failed

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run(tmp_path / "file", stop)
    assert list(tmp_path.iterdir()) == []

    def note_and_stop(disk):
        disk.write(b"some")
        disk.checkpoint({"n": 4})
        stop(disk)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run(tmp_path / "file", note_and_stop)
    seen = []
    assert run(tmp_path / "file", lambda disk: seen.append(disk.facts))
    assert seen == [{"n": 4}]
    assert (tmp_path / "file").read_bytes() == b"some"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_nothing(tmp_path):
    def fail(disk):
        disk.write(b"some")
        disk.checkpoint({"n": 4})
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []
