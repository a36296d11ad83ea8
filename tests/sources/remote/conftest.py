"""Servers that these tests share."""

from tests.servers.conftest import s3  # noqa: F401
