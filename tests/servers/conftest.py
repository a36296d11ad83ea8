"""Servers and files that the tests of this folder share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.range_server import RangeServer
from tests.servers.s3 import S3Server, s3_server

BUCKET = "some-bucket"


@pytest.fixture(scope="session")
def s3():
    """Return moto's S3 server; each test makes buckets of its own."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    with s3_server() as server:
        yield server


@dataclass(frozen=True)
class Files:
    """Files of every kind that is read in place, and their names by kind."""

    folder: Path
    names: dict[str, list[str]]

    def paths(self, kind: str) -> list[str]:
        """Return the local paths of a kind."""
        return [str(self.folder / name) for name in self.names[kind]]

    def urls(self, kind: str, root: str) -> list[str]:
        """Return the URLs of a kind."""
        return [f"{root}/{name}" for name in self.names[kind]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return files that no test changes."""
    pytest.importorskip("anndata")
    pytest.importorskip("mudata")
    pytest.importorskip("zarr")
    from tests.servers.remote_cells import write_files

    folder = tmp_path_factory.mktemp("files")
    return Files(folder, write_files(folder))


@pytest.fixture
def server(files: Files):
    """Return a server of the files without faults, in a bucket of its own too."""
    with RangeServer(files.folder) as server:
        for name, stored in list(server.objects.items()):
            server.objects[f"{BUCKET}/{name}"] = stored
        yield server


@pytest.fixture(scope="session")
def uploaded(files: Files, s3: S3Server) -> S3Server:
    """Return moto's server with the files in a bucket."""
    s3.upload(BUCKET, files.folder)
    return s3


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return where the files are by parameter, http or s3, and options to get there."""
    from tests.servers.remote_cells import HTTP_OPTIONS

    if request.param == "http":
        return request.getfixturevalue("server").url, HTTP_OPTIONS
    return f"s3://{BUCKET}", request.getfixturevalue("uploaded").options
