"""Zarr stores behind URLs give the batches of local ones; errors name them."""

import pytest

import scdataset_core as scd
from scdataset_core import tools
from tests.servers.conftest import BUCKET
from tests.servers.faults import on, refuse
from tests.servers.remote_cells import HTTP_OPTIONS, assert_same_batches

pytestmark = pytest.mark.slow

pytest.importorskip("obstore")
pytest.importorskip("zarr")

on_both = pytest.mark.parametrize("remote", ["http", "s3"], indirect=True)


@on_both
@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "sharded"])
@pytest.mark.parametrize("x", ["X", "layers/dense"])
def test_zarr_stores(files, remote, kind, x):
    root, options = remote
    far = scd.open(files.urls(kind, root), x=x, obs=True, storage_options=options)
    near = scd.open(files.paths(kind), x=x, obs=True)
    assert assert_same_batches(far, near) == 15


def test_globs_match_stores(uploaded):
    options = uploaded.options
    source = scd.open("s3://some-bucket/zarr*.zarr", storage_options=options)
    assert len(source.files) == 2


def test_a_folder_that_is_no_zarr_store(s3):
    s3.upload("no-stores", {"a.zarr/b": b"c", "folder/x": b"y"})
    for url in ("s3://no-stores/a.zarr", "s3://no-stores/folder"):
        with pytest.raises((ValueError, OSError), match="no-stores") as caught:
            scd.open(url, storage_options=s3.options)
        assert isinstance(caught.value, scd.errors.ScdatasetError)
        assert url in str(caught.value)


def test_a_zarr_store_over_http_without_its_metadata(server):
    server.faults = [on(refuse(403, "AccessDenied"), within="zarr.json")]
    with pytest.raises(OSError, match=r"zarr3\.zarr"):
        scd.open(f"{server.url}/zarr3.zarr", storage_options=HTTP_OPTIONS)


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "sharded"])
def test_verify_and_inspect_look_at_stores(files, uploaded, kind):
    options = uploaded.options
    url = f"s3://{BUCKET}/{files.names[kind][0]}"
    near, far = (
        tools.verify(files.paths(kind)),
        tools.verify(url, storage_options=options),
    )
    for name in ("ok", "n_files", "n_chunks", "n_bytes"):
        assert far[name] == near[name]
    near, far = (
        tools.inspect(files.paths(kind)),
        tools.inspect(url, storage_options=options),
    )
    assert far["bytes"] == near["bytes"]
    assert far["files"][0]["format"] == "zarr store"
    by_name = [
        {matrix["name"]: matrix for matrix in report["files"][0]["matrices"]}
        for report in (near, far)
    ]
    assert by_name[0] == by_name[1]


def test_verify_finds_damaged_chunks(files, s3):
    folder = files.folder / files.names["zarr3"][0]
    contents = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    name = next(name for name in contents if name.startswith("zarr3.zarr/X/data/c/"))
    contents[name] = contents[name][:-9] + bytes(9)
    s3.upload("damaged", contents)
    found = tools.verify("s3://damaged/zarr3.zarr", storage_options=s3.options)
    assert [damage["dataset"] for damage in found["damaged"]] == ["X/data"]
