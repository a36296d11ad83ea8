"""What object stores answer to requests: objects, ranges of them, lists, errors."""

import hashlib
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

# Seconds since 1970; a fixed time, so that answers are the same in every run.
MODIFIED = 1_700_000_000.0


@dataclass(frozen=True)
class StoredObject:
    """The bytes of an object, and the ETag that tells this version from others."""

    content: memoryview
    etag: str

    @classmethod
    def of(
        cls, content: "bytes | os.PathLike[str]", etag: str | None = None
    ) -> "StoredObject":
        """Make one of bytes, or of a file, which is mapped and not read."""
        if isinstance(content, bytes):
            view, tag = memoryview(content), hashlib.sha1(content).hexdigest()
        else:
            known = Path(content).stat()
            tag = f"{known.st_ino:x}-{known.st_mtime_ns:x}-{known.st_size:x}"
            view = memoryview(b"")
            if known.st_size:
                with Path(content).open("rb") as file:
                    view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        return cls(view, f'"{etag or tag}"')


@dataclass
class Request:
    """What was asked, and once it was answered, with what.

    Parameters
    ----------
    number
        How many requests came before it.
    in_flight
        Requests that were not answered yet when it came, with itself.
    status, n_bytes
        Of the answer: its status, and how many bytes of its body were to be sent.
    """

    number: int
    in_flight: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # by names in lower case
    status: int = 0
    n_bytes: int = 0

    @property
    def name(self) -> str:
        """Name of the object: the path without its first slash."""
        return unquote(self.path).removeprefix("/")


@dataclass
class Answer:
    """What is answered; faults change it.

    Parameters
    ----------
    delay_s
        Seconds until it is sent.
    held
        It is not sent before this is done, whatever the delay.
    n_sent
        Bytes of the body after which the connection ends; None: all are sent, and the
        connection goes on.
    reset
        Whether the connection ends by a reset.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: "memoryview | bytes" = b""
    length: int | None = None  # of the body, where it is not sent
    delay_s: float = 0.0
    held: "Future[None] | None" = None
    n_sent: int | None = None
    reset: bool = False


def answer_object(
    request: Request, stored: StoredObject | None, *, ranges: bool
) -> Answer:
    """Answer HEAD or GET of an object, by a range if it is asked for and served."""
    if request.method not in ("GET", "HEAD"):
        return error(405, "MethodNotAllowed")
    if stored is None:
        return error(404, "NoSuchKey")
    wanted = request.headers.get("if-match")
    if wanted not in (None, "*", stored.etag):
        return error(412, "PreconditionFailed")
    headers = {
        "ETag": stored.etag,
        "Last-Modified": formatdate(MODIFIED, usegmt=True),
    }
    if ranges:
        headers["Accept-Ranges"] = "bytes"
    size = len(stored.content)
    if request.method == "HEAD":
        return Answer(200, headers, length=size)
    if not ranges or "range" not in request.headers:
        return Answer(200, headers, stored.content)
    start, stop = range_of(request.headers["range"], size)
    if start >= stop:
        return error(416, "InvalidRange", {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Answer(206, headers, stored.content[start:stop])


def answer_list(request: Request, objects: Mapping[str, StoredObject]) -> Answer:
    """Answer S3's ListObjectsV2, all in one page."""
    query = {name: values[0] for name, values in parse_qs(request.query).items()}
    bucket = request.name.strip("/")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    keys, folders = [], set()
    for name, stored in sorted(objects.items()):
        inside, _, key = name.partition("/")
        if inside != bucket or not key.startswith(prefix):
            continue
        head, found, _ = key[len(prefix) :].partition(delimiter or "\0")
        if found:
            folders.add(prefix + head + delimiter)
            continue
        keys.append(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.content)}</Size>"
            f"<ETag>{escape(stored.etag)}</ETag>"
            "<LastModified>2023-11-14T22:13:20.000Z</LastModified></Contents>"
        )
    keys += [
        f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
        for name in sorted(folders)
    ]
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult'
        ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<IsTruncated>false</IsTruncated>{''.join(keys)}</ListBucketResult>"
    )
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that refuses, as S3 words it."""
    text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    kind = {"Content-Type": "application/xml"}
    return Answer(status, kind | dict(headers or {}), text.encode())


def range_of(header: str, size: int) -> tuple[int, int]:
    """Return first byte and end of a header such as ``bytes=0-99``."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
