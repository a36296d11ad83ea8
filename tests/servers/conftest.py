"""Servers that the tests of this folder share."""

import pytest

from tests.servers.s3 import s3_server


@pytest.fixture(scope="session")
def s3():
    """Return moto's S3 server; each test makes buckets of its own."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    with s3_server() as server:
        yield server
