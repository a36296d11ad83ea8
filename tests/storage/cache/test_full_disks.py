"""Disks that are full, gone or for reading only: one warning, and right batches."""

import contextlib
import multiprocessing
import os
import resource
import shutil
import subprocess
import warnings

import pytest

import scdataset_core as scd
from scdataset_core.storage.cache import process as cache_process
from scdataset_core.storage.cache.entries import bytes_on_disk
from tests.storage.cache.plates import digest, in_fork, write_plate

pytest.importorskip("anndata")
is_root = os.geteuid() == 0


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return [write_plate(folder / f"plate{i}.h5ad", i) for i in range(2)]


@pytest.fixture(scope="module")
def expected(plates):
    return [digest(scd.open(plates), epoch) for epoch in range(3)]


def read(source, expected):
    """Read two epochs, which must be right; return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(2):
            assert digest(source, epoch) == expected[epoch]
        source.fill_cache()
        assert digest(source, 2) == expected[2]
    return [str(each.message) for each in caught]


@contextlib.contextmanager
def mounted(folder, *options):
    folder.mkdir()
    mount = ["mount", *options, str(folder)]
    if (
        not is_root
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    "size", ["40k", *(pytest.param(k, marks=pytest.mark.slow) for k in ("8k", "80k"))]
)
def test_a_full_disk_is_warned_of_once(plates, expected, tmp_path, size):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={size}", "x") as disk:
        said = read(scd.open(plates, cache=disk / "cache"), expected)
        assert len(said) == 1
        assert "No space left" in said[0]
        # Another run uses what there is.
        assert len(read(scd.open(plates, cache=disk / "cache"), expected)) == 0


def test_a_folder_for_reading_only_is_read(plates, expected, tmp_path):
    scd.open(plates[:1], cache=tmp_path / "cache").fill_cache()
    bound = ("--bind", str(tmp_path / "cache"))
    with mounted(tmp_path / "disk", *bound) as disk:
        remount = ["mount", "-o", "remount,ro,bind", str(disk)]
        if subprocess.run(remount, check=False).returncode:
            pytest.skip("file systems cannot be mounted for reading only here")
        source = scd.open(plates[:1], cache=disk)
        assert source.cached == 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain = scd.open(plates[:1])
            assert digest(source) == digest(plain)
        said = read(scd.open(plates, cache=disk), expected)
        assert len(said) == 1
        assert "Read-only file system" in said[0]


def read_as_nobody(plates, folder, expected):
    plain = scd.open(plates)
    digest(plain)  # loads what this user may not
    os.setgid(65534)
    os.setuid(65534)
    source = scd.open(plates, cache=folder)
    return read(source, expected), source.cached


@pytest.mark.skipif(not is_root, reason="needs to be root")
@pytest.mark.parametrize(
    "place",
    ["theirs", *(pytest.param(p, marks=pytest.mark.slow) for p in ("mine", "closed"))],
)
def test_folders_that_may_not_be_written_are_left_alone(
    plates, expected, tmp_path, place
):
    """A process of another user finds a folder of ours, or one it cannot enter."""
    folder = tmp_path / place
    if place == "theirs":
        folder.mkdir(mode=0o500)
        os.chown(folder, 65534, 65534)
    elif place == "closed":
        folder.mkdir(mode=0o700)
        folder = folder / "cache"
    else:
        (tmp_path / "mine").mkdir(mode=0o755)
    for path in (tmp_path, *tmp_path.parents[:3], plates[0].parent):
        path.chmod(path.stat().st_mode | 0o055)
    for plate in plates:
        plate.chmod(0o644)
    said, share = in_fork(read_as_nobody, plates, folder, expected)
    assert len(said) == 1, said
    assert share == 0.0
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def read_with_small_files(plates, folder, expected, size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return read(scd.open(plates, cache=folder), expected)


@pytest.mark.parametrize("size", [3000, pytest.param(10, marks=pytest.mark.slow)])
def test_a_limit_on_the_size_of_files_is_warned_of_once(
    plates, expected, tmp_path, size
):
    arguments = plates, tmp_path / "cache", expected, size
    (said,) = in_fork(read_with_small_files, *arguments)
    assert ("no stamp" if size == 10 else "File too large") in said


def test_a_folder_that_is_removed_in_use_is_warned_of_once(plates, expected, tmp_path):
    source = scd.open(plates, cache=tmp_path / "cache")
    assert read(source, expected) == []
    shutil.rmtree(tmp_path / "cache")
    assert len(read(source, expected)) <= 1
    assert not (tmp_path / "cache").exists()
    # The next run begins anew.
    assert scd.open(plates, cache=tmp_path / "cache").fill_cache() == 1.0


def test_a_cache_that_is_cleared_in_use_is_filled_again(plates, expected, tmp_path):
    source = scd.open(plates, cache=tmp_path / "cache")
    for _ in range(3):
        assert read(source, expected) == []
        assert source.cached == 1.0
        scd.Cache(tmp_path / "cache").clear()
    assert scd.Cache(tmp_path / "cache").entries() == []


def test_a_limit_below_one_index_is_an_error(plates, tmp_path):
    with pytest.raises(ValueError, match="limit must leave room for an index of"):
        scd.open(plates, cache=scd.Cache(tmp_path / "cache", 100))


def fill(plates, folder, limit, number, ready):
    warnings.simplefilter("error")
    source = scd.open(plates, cache=scd.Cache(folder, limit))
    ready.release()
    for epoch in range(number, number + 3):
        digest(source, epoch)
    source.fill_cache()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
@pytest.mark.slow
def test_four_writers_hold_a_limit_smaller_than_the_data(plates, expected, tmp_path):
    folder, limit = tmp_path / "cache", 100_000
    context = multiprocessing.get_context("fork")
    ready = context.Semaphore(0)
    processes = [
        context.Process(target=fill, args=(plates, folder, limit, number, ready))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    most = 0
    while any(process.is_alive() for process in processes):
        most = max(most, bytes_on_disk(folder))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    # A chunk of a writer, of 512 bytes, takes whole pages, and so may its record; and
    # each process has a page for its user file.
    assert 0.5 * limit < most <= limit + 4 * 3 * 4096
    assert read(scd.open(plates, cache=scd.Cache(folder, limit)), expected) == []


def test_of_two_data_sets_in_turn_the_older_is_removed_whole(
    plates, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache_process, "FULL_S", 0.0)
    one, two = ([plate] for plate in plates)
    size = scd.Cache(tmp_path / "sizes")
    scd.open(one, cache=size).fill_cache()
    limit = int(1.5 * size.nbytes)
    cache = scd.Cache(tmp_path / "cache", limit)

    def shares():
        found: dict[str, list[float]] = {path: [] for path in map(str, plates)}
        for entry in cache.entries():
            found[entry.file].append(entry.share)
        return [sorted(found[str(plate)]) for plate in plates]

    source = scd.open(one, cache=cache)
    assert source.fill_cache() == 1.0
    assert shares() == [[1.0, 1.0], []]
    # In use, it stays, and the other gets what room there is.
    other = scd.open(two, cache=cache)
    assert 0 < other.fill_cache() < 1
    assert source.cached == 1.0
    plain = digest(scd.open(two))
    assert digest(other) == plain
    # Not in use any more, it goes, an array at a time, until there is room enough.
    del source
    assert other.fill_cache() == 1.0
    assert digest(other) == plain
    left = shares()
    assert left[1] == [1.0, 1.0]
    assert left[0] in ([], [1.0])
    assert cache.nbytes <= limit


@pytest.mark.slow
def test_a_limit_holds_for_arrays_that_are_only_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_process, "FULL_S", 0.0)
    many = [write_plate(tmp_path / f"{i}.h5ad", i, n_cells=20) for i in range(12)]
    limit = 64_000
    cache = scd.Cache(tmp_path / "cache", limit)
    source = scd.open(many, cache=cache)
    plain = scd.open(many)
    for epoch in range(2):
        assert digest(source, epoch) == digest(plain, epoch)
    assert 20_000 < cache.nbytes <= limit + 8192
    assert 0 < len(cache.entries()) < 24


@pytest.mark.slow
def test_two_limits_on_one_folder_are_each_kept_by_their_own(
    plates, expected, tmp_path
):
    small = scd.Cache(tmp_path / "cache", 60_000)
    large = scd.Cache(tmp_path / "cache", "1GiB")
    source = scd.open(plates, cache=small)
    assert read(source, expected) == []
    assert small.nbytes <= 60_000 + 8192
    assert source.cached < 1
    assert scd.open(plates, cache=large).fill_cache() == 1.0
    assert read(source, expected) == []
    assert source.cached == 1.0
