"""Files that change under a cache: what is kept of them before is never used again."""

import os
import shutil
import warnings

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from tests.storage.cache.plates import digest, loader_of, write_plate

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Return two files of the same cells with other counts, of one size."""
    folder = tmp_path_factory.mktemp("versions")
    old = write_plate(folder / "old.h5ad", n_cells=200)
    new = folder / "new.h5ad"
    shutil.copy(old, new)
    with h5py.File(new, "r+") as file:
        stored = file["X/data"]
        for start in range(0, len(stored), 256):  # of as many bytes, compressed
            values = stored[start : start + 256]
            stored[start : start + 256] = values[::-1]
    size = max(old.stat().st_size, new.stat().st_size)
    for path in (old, new):
        os.truncate(path, size)  # what is behind the end of an HDF5 file is not read
    assert digest(scd.open(old)) != digest(scd.open(new))
    return old, new


def in_place(path, new):
    data = new.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def by_rename(path, new):
    shutil.copy(new, path.with_name("being written"))
    path.with_name("being written").rename(path)


def keeping_the_time(change):
    def changed(path, new):
        status = path.stat()
        change(path, new)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return changed


CHANGES = [
    pytest.param(in_place, id="in_place", marks=pytest.mark.slow),
    pytest.param(by_rename, id="by_rename", marks=pytest.mark.slow),
    pytest.param(keeping_the_time(in_place), id="in_place_keeping_the_time"),
    pytest.param(keeping_the_time(by_rename), id="by_rename_keeping_the_time"),
]


@pytest.fixture
def path(versions, tmp_path):
    shutil.copy(versions[0], tmp_path / "plate.h5ad")
    return tmp_path / "plate.h5ad"


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_between_runs_is_read_anew(
    versions, path, tmp_path, change
):
    source = scd.open(path, cache=tmp_path / "cache")
    assert source.fill_cache() == 1.0
    assert digest(source) == digest(scd.open(versions[0]))
    change(path, versions[1])
    again = scd.open(path, cache=tmp_path / "cache")
    assert again.cached == 0.0
    for _ in range(2):
        assert digest(again) == digest(scd.open(versions[1]))
    assert again.fill_cache() == 1.0
    # The old source has the file open still, or says that it has changed; it neither
    # takes nor keeps anything for the new one.
    read_or_refuse(source, versions)
    assert digest(again) == digest(scd.open(versions[1]))


def read_or_refuse(source, versions):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            X = source.read(np.arange(200))["X"]
        except scd.FileChangedError:
            return
    either = [scd.open(path).read(np.arange(200))["X"] for path in versions]
    assert any((each != X).nnz == 0 for each in either)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("filled", [False, True])
def test_a_file_that_changes_during_an_epoch_gives_an_error_or_what_it_held(
    versions, path, tmp_path, change, filled
):
    source = scd.open(path, cache=tmp_path / "cache")
    if filled:
        source.fill_cache()
    old, new = (list(loader_of(scd.open(each), read_ahead=0)) for each in versions)
    batches = iter(loader_of(source, read_ahead=0))
    for number in range(6):
        assert (next(batches)["X"] != old[number]["X"]).nnz == 0
    change(path, versions[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for number, batch in enumerate(batches, 6):
                same = [
                    (batch["X"] != each[number]["X"]).nnz == 0 for each in (old, new)
                ]
                assert any(same), number
        except scd.FileChangedError:
            pass
    # What was read of one version was not kept as the other's.
    again = scd.open(path, cache=tmp_path / "cache")
    assert digest(again) == digest(scd.open(versions[1]))
    change(path, versions[0])
    assert digest(scd.open(path, cache=tmp_path / "cache")) == digest(
        scd.open(versions[0])
    )


def test_a_file_that_is_touched_in_use_is_read_without_what_is_kept(path, tmp_path):
    source = scd.open(path, cache=tmp_path / "cache")
    source.fill_cache()
    expected = digest(source)
    path.chmod(0o600)
    with pytest.warns(RuntimeWarning, match="was touched since it was opened"):
        assert digest(source) == expected
    loader = loader_of(source)
    list(loader)
    assert loader.stats.to_dict()["chunks_cached"] == 0


def test_entries_of_what_a_file_was_are_removed_once_they_are_not_used(
    versions, path, tmp_path
):
    scd.open(path, cache=tmp_path / "cache").fill_cache()
    assert len(scd.Cache(tmp_path / "cache").entries()) == 2
    in_place(path, versions[1])
    scd.open(path, cache=tmp_path / "cache").fill_cache()
    entries = scd.Cache(tmp_path / "cache").entries()
    assert [entry.share for entry in entries] == [1.0, 1.0]


@pytest.fixture
def store(tmp_path):
    """Return a zarr store whose every chunk is a file."""
    zarr = pytest.importorskip("zarr")
    ad = pytest.importorskip("anndata")
    plate = write_plate(tmp_path / "plate.h5ad", n_cells=200)
    path = tmp_path / "plate.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ad.read_h5ad(plate).write_zarr(path)
        group = zarr.open_group(path, mode="r+")
        for name in ("X/data", "X/indices"):
            values = group[name][:]
            del group[name]
            group.create_array(name, data=values, chunks=(256,))
    return path


def chunk_files(store, name):
    found = [
        path
        for path in (store / "X" / name).rglob("*")
        if path.is_file() and path.name.isdigit()
    ]
    return sorted(found, key=lambda path: int(path.name))


@pytest.mark.filterwarnings("ignore:.*zarr")
@pytest.mark.parametrize(
    ("by", "keep_time"),
    [
        (in_place, True),
        pytest.param(in_place, False, marks=pytest.mark.slow),
        pytest.param(by_rename, True, marks=pytest.mark.slow),
        pytest.param(by_rename, False, marks=pytest.mark.slow),
    ],
)
def test_a_chunk_file_of_a_zarr_store_that_changed_is_not_used(
    store, tmp_path, keep_time, by
):
    source = scd.open(store, cache=tmp_path / "cache")
    assert source.fill_cache() == 1.0
    old = digest(source)
    one, two = chunk_files(store, "data")[:2]
    shutil.copy(two, tmp_path / "chunk")
    (keeping_the_time(by) if keep_time else by)(one, tmp_path / "chunk")
    again = scd.open(store, cache=tmp_path / "cache")
    assert again.cached == 0.5  # the ids are as they were
    new = digest(scd.open(store))
    assert new != old
    assert digest(again) == digest(again) == new
    if not keep_time:
        with pytest.raises(scd.FileChangedError, match="changed since"):
            source.read(np.arange(200))


@pytest.mark.filterwarnings("ignore:.*zarr")
def test_a_zarr_store_without_its_first_chunk_is_kept_too(tmp_path):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("anndata")
    from scdataset_core.storage import ReadContext, StoredArray
    from scdataset_core.storage.cache.filling import attach_cache, fill_caches
    from tests.storage.oracle import check

    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(40,), chunks=(10,), dtype="f4", fill_value=3
    )
    array[20:] = np.arange(20)
    layout = StoredArray.from_zarr(zarr.open_array(tmp_path / "x.zarr", mode="r"))
    attach_cache([layout], scd.Cache(tmp_path / "cache"))
    assert fill_caches([layout], None, 1) == 1.0
    with ReadContext(1) as context:
        check(layout, array[:], [(0, 40)], context=context)
        assert context.stats.chunks_cached == 2
