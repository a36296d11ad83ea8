"""What a cache takes for its own in a folder, uses, and removes; and locks."""

import errno
import fcntl
import json
import os
import pickle
import warnings
from pathlib import Path

import pytest

import scdataset_core as scd
from scdataset_core.storage.cache import process as cache_process
from scdataset_core.storage.cache import users
from tests.storage.cache.plates import digest, files_of, in_fork, write_plate

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return [write_plate(folder / f"plate{i}.h5ad", i, n_cells=150) for i in range(2)]


@pytest.fixture(scope="module")
def expected(plates):
    return digest(scd.open(plates))


def snapshot(folder):
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


def test_a_folder_with_other_content_is_refused_and_left_as_it_is(plates, tmp_path):
    for name in ("letter.txt", ".hidden", "deeper/0123"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("dear")
        before, mode = snapshot(folder), folder.stat().st_mode
        with pytest.raises(FileExistsError, match="has other content"):
            scd.Cache(folder)
        with pytest.raises(FileExistsError, match="has other content"):
            scd.open(plates, cache=folder)
        assert snapshot(folder) == before
        assert folder.stat().st_mode == mode


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in ("file", "file/cache"):
        with pytest.raises(NotADirectoryError, match="give the cache a folder"):
            scd.Cache(tmp_path / path)


def test_what_is_made_is_private(plates, tmp_path):
    old = os.umask(0o022)
    try:
        (tmp_path / "empty").mkdir(mode=0o777)
        for folder in (tmp_path / "new" / "cache", tmp_path / "empty"):
            scd.open(plates, cache=folder).fill_cache()
            for path in (folder, *folder.rglob("*")):
                if path.is_dir():
                    assert path.stat().st_mode & 0o777 == 0o700, path
    finally:
        os.umask(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
def test_a_folder_of_another_user_is_not_used(plates, expected, tmp_path):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    os.chown(tmp_path / "cache", 1234, 1234)
    before = snapshot(tmp_path / "cache")
    source = scd.open(plates, cache=tmp_path / "cache")
    with pytest.warns(RuntimeWarning, match="it belongs to another user"):
        assert digest(source) == expected
    assert source.cached == 0.0
    assert snapshot(tmp_path / "cache") == before


def test_a_cache_of_another_format_is_left_alone(plates, expected, tmp_path):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    stamp = tmp_path / "cache" / "scdataset-cache.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"format": 2}))
    before = snapshot(tmp_path / "cache")
    with pytest.warns(RuntimeWarning, match="another version"):
        assert digest(scd.open(plates, cache=tmp_path / "cache")) == expected
    assert snapshot(tmp_path / "cache") == before
    stamp.write_text("")  # after the machine went down as it was written
    source = scd.open(plates, cache=tmp_path / "cache")
    assert digest(source) == expected
    assert source.cached == 1.0


def test_only_files_of_the_cache_are_removed_and_no_link_is_followed(
    plates, expected, tmp_path
):
    folder, outside = tmp_path / "cache", tmp_path / "outside"
    outside.mkdir()
    scd.open(plates, cache=folder).fill_cache()
    index, data = files_of(folder, ".index")[0], files_of(folder, ".data1")[0]
    entry = data.parent
    # What others have put there, under the cache's names where that can be.
    theirs = [
        outside / data.name,
        outside / "array.json",
        outside / ("0" * 12 + "-1-1-" + "0" * 16),
        folder / "notes.txt",
        folder / "users" / "notes.txt",
        entry / "notes.txt",
        folder / "0123456789abcdef-0123456789abcdef0123456x" / "array.json",
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    name = "f" * 16 + "-" + "f" * 24
    (folder / name).symlink_to(outside, target_is_directory=True)
    (entry / ("1" * 16 + ".data1")).symlink_to(outside / data.name)
    (folder / "users" / ("0" * 12 + "-2-2-" + "0" * 16)).symlink_to(theirs[2])
    data.unlink()
    data.symlink_to(outside / data.name)
    assert index.exists()
    # They are read, filled, pressed for room, listed and cleared.
    for limit in (None, 30_000, "1GiB"):
        source = scd.open(plates, cache=scd.Cache(folder, limit))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert digest(source) == expected
            source.fill_cache()
            assert digest(source) == expected
    scd.Cache(folder).entries()
    scd.Cache(folder).clear()
    for path in theirs:
        assert path.read_text() == "mine", path
    (folder / name).unlink()
    left = files_of(folder, ".data", ".index", "array.json")
    assert left == [path for path in theirs if path.parent.name.startswith("0123")]


def test_an_entry_that_is_a_link_is_not_written_through(plates, expected, tmp_path):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    outside = tmp_path / "outside"
    entry = files_of(tmp_path / "cache", ".index")[0].parent
    entry.rename(outside)
    entry.symlink_to(outside, target_is_directory=True)
    before = snapshot(outside)
    source = scd.open(plates, cache=tmp_path / "cache")
    with pytest.warns(RuntimeWarning, match="symbolic link"):
        assert digest(source) == expected
    assert snapshot(outside) == before


@pytest.mark.parametrize("always", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_locks_that_cannot_be_trusted_make_no_difference(
    plates, expected, tmp_path, monkeypatch, always
):
    """One that always succeeds, and one that always fails."""

    def flock(descriptor, operation):
        if not always:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(cache_process, "FULL_S", 0.0)
    folder = tmp_path / "cache"
    source = scd.open(plates[:1], cache=folder)
    source.fill_cache()
    size = scd.Cache(folder).nbytes
    digest(source)
    limit = int(1.7 * size)

    def fill_other():
        other = scd.open(plates[1:], cache=scd.Cache(folder, limit))
        share = other.fill_cache()
        return share, digest(other), bool(scd.Cache(folder).nbytes <= limit + 8192)

    plain = digest(scd.open(plates[1:]))
    # What this process uses, another does not remove; what it has ceased to, it does.
    share, found, held = in_fork(fill_other)
    assert share < 1
    assert source.cached == 1.0
    assert (found, held) == (plain, True)
    del source
    share, found, held = in_fork(fill_other)
    assert share == 1
    assert (found, held) == (plain, True)


def test_processes_of_other_machines_live_as_long_as_their_locks(
    plates, tmp_path, monkeypatch
):
    folder = tmp_path / "cache"
    source = scd.open(plates, cache=folder)
    source.fill_cache()
    cache = scd.Cache(folder)
    in_use = {path.parent.name for path in files_of(folder, ".index")}
    own = cache.process.user_path
    monkeypatch.setattr(users, "_host", lambda: "0" * 12)
    assert users.names_in_use(folder, None) == in_use
    assert own is not None
    assert own.exists()
    other = own.with_name("a" * 12 + own.name[12:])
    other.write_text("+" + "b" * 16 + "-" + "c" * 24 + "\n")
    assert users.names_in_use(folder, None) == in_use  # no lock on it
    assert not other.exists()


def test_a_pickled_cache_makes_its_folder_where_it_is_not(plates, expected, tmp_path):
    source = scd.open(plates, cache=scd.Cache(tmp_path / "cache", "1GiB"))
    pickled = pickle.dumps(source)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    copy = pickle.loads(pickled)
    assert copy.fill_cache() == 1.0
    assert digest(copy) == expected
    (tmp_path / "elsewhere").rename(tmp_path / "cache" / "x")
    (tmp_path / "cache" / "scdataset-cache.json").unlink()
    copy = pickle.loads(pickled)
    with pytest.warns(RuntimeWarning, match="no stamp of a cache"):
        assert digest(copy) == expected


def test_names_that_are_no_text_are_no_trouble(plates, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.h5ad")
    Path(path).write_bytes(Path(plates[0]).read_bytes())
    source = scd.open(path, cache=tmp_path / "cache")
    assert source.fill_cache() == 1.0
    assert scd.open(path, cache=tmp_path / "cache").cached == 1.0
    assert scd.Cache(tmp_path / "cache").clear(path) > 0
