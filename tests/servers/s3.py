"""moto's S3 server on this machine, with buckets that tests fill."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY, SECRET = "TESTACCESSKEY", "testsecretkey"


class S3Server:
    """A running S3 server.

    Attributes
    ----------
    url : str
        Its address, the endpoint of clients.
    client : Any
        A client of boto3.
    """

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self.client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of obstore's `S3Store` that reach it, as a new dict."""
        return {
            "endpoint": self.url,
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "client_options": {"allow_http": True},
        }

    def upload(
        self,
        bucket: str,
        files: "Mapping[str, bytes | os.PathLike[str]] | os.PathLike[str]",
        prefix: str = "",
    ) -> list[str]:
        """Put objects into a bucket, which is made if need be; return their URLs.

        `files` holds bytes or paths by key, or is a folder, which stands for all files
        in it.
        """
        known = {made["Name"] for made in self.client.list_buckets()["Buckets"]}
        if bucket not in known:
            self.client.create_bucket(Bucket=bucket)
        if not isinstance(files, Mapping):
            folder = Path(files)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): path for path in paths}
        for key, content in files.items():
            body = content if isinstance(content, bytes) else Path(content).read_bytes()
            self.client.put_object(Bucket=bucket, Key=prefix + key, Body=body)
        return [f"s3://{bucket}/{prefix}{key}" for key in files]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run moto's server at a free port; names of buckets have three letters or more."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
