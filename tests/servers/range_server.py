"""An HTTP server of objects on this machine, which answers by ranges and fails as told.

It speaks what object stores speak of HTTP/1.1: ``HEAD``, ``GET`` with one range, ETags,
``If-Match``, and the list of a bucket as S3 gives it, so that `HTTPStore` and `S3Store`
(path style) both read from it. One thread serves all connections: requests that wait do
not hold up others. It counts what is asked, and `faults` change the answers.

As a command it prints its address, and serves a folder until its standard input ends.
For each line there it prints what was asked for since the last one, as JSON::

    python -m tests.servers.range_server FOLDER --latency-ms 50
"""

import argparse
import asyncio
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.servers.answers import (
    Answer,
    Request,
    StoredObject,
    answer_list,
    answer_object,
    range_of,
)

Fault = Callable[[Request, Answer], Answer]


class RangeServer:
    """Serves objects from a thread, between ``with`` and its end.

    Parameters
    ----------
    objects
        Bytes or files by name, ``"bucket/plates/a.h5ad"``; a folder stands for all
        files in it.
    faults
        Called one after another with each request and its answer; each returns the
        answer to give.
    ranges
        Whether ranges are served; if not, every answer is the whole object.

    Attributes
    ----------
    url : str
        ``http://127.0.0.1:PORT``.
    requests : list of Request
        All that were asked.
    """

    def __init__(
        self,
        objects: "Mapping[str, bytes | os.PathLike[str]] | os.PathLike[str]" = {},  # noqa: B006  # only read
        *,
        faults: "list[Fault] | None" = None,
        ranges: bool = True,
    ) -> None:
        if not isinstance(objects, Mapping):
            folder = Path(objects)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            objects = {path.relative_to(folder).as_posix(): path for path in files}
        self.objects: dict[str, StoredObject] = {}
        for name, content in objects.items():
            self.put(name, content)
        self.faults = faults or []
        self.ranges = ranges
        self.requests: list[Request] = []
        self.n_in_flight = 0
        self._actions: dict[int, list[Callable[[], Any]]] = {}
        self._connections: set[asyncio.Transport] = set()
        self._serving = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def put(
        self,
        name: str,
        content: "bytes | os.PathLike[str]",
        *,
        etag: str | None = None,
    ) -> None:
        """Add an object, or replace it by another version."""
        self.objects[name] = StoredObject.of(content, etag)

    def at(self, number: int, action: Callable[[], Any]) -> None:
        """Do something when a request comes, before it is answered."""
        self._actions.setdefault(number, []).append(action)

    def forget(self) -> None:
        """Count anew from here on."""
        self.requests = []

    def asked(self, method: str = "", *, within: str = "") -> list[Request]:
        """Return the requests of a method whose path has some text in it."""
        return [
            request
            for request in self.requests
            if method in ("", request.method) and within in unquote(request.path)
        ]

    @property
    def n_bytes(self) -> int:
        """Bytes of all bodies that were answered."""
        return sum(request.n_bytes for request in self.requests)

    @property
    def most_in_flight(self) -> int:
        """The most requests that waited for their answer at a time."""
        return max((request.in_flight for request in self.requests), default=0)

    def __enter__(self) -> "RangeServer":
        self._thread.start()
        self._serving.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), sock=self._socket)
        )
        self._loop.call_soon(self._serving.set)
        self._loop.run_forever()
        server.close()
        for transport in list(self._connections):
            transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def respond(self, request: Request) -> Answer:
        """Return the answer to a request, with the faults that meet it."""
        for action in self._actions.pop(len(self.requests), ()):
            action()
        self.requests.append(request)
        if request.name in self.objects or "list-type=" not in request.query:
            stored = self.objects.get(request.name)
            answer = answer_object(request, stored, ranges=self.ranges)
        else:
            answer = answer_list(request, self.objects)
        for fault in self.faults:
            answer = fault(request, answer)
        request.status, request.n_bytes = answer.status, len(answer.body)
        return answer


class _Connection(asyncio.Protocol):
    """Reads the requests of one connection, and sends the answers."""

    def __init__(self, server: RangeServer) -> None:
        self.server = server
        self.received = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # Head and body are sent one after the other; neither waits for the other's ACK.
        end = transport.get_extra_info("socket")
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode("latin-1")
            del self.received[: end + 4]
            self._take(head)

    def _take(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        server, parts = self.server, urlsplit(target)
        server.n_in_flight += 1
        request = Request(
            len(server.requests),
            server.n_in_flight,
            method,
            parts.path,
            parts.query,
            headers,
        )
        answer = server.respond(request)
        if answer.held is not None:
            answer.held.add_done_callback(
                lambda _: server._loop.call_soon_threadsafe(self._send, request, answer)
            )
        elif answer.delay_s:
            server._loop.call_later(answer.delay_s, self._send, request, answer)
        else:
            self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> None:
        self.server.n_in_flight -= 1
        if self.transport.is_closing():
            return
        length = len(answer.body) if answer.length is None else answer.length
        reason = HTTPStatus(answer.status).phrase
        fields = {**answer.headers, "Content-Length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {answer.status} {reason}\r\n{lines}\r\n".encode()
        body = b"" if request.method == "HEAD" else answer.body
        if answer.n_sent is None:
            self.transport.write(head)
            self.transport.write(body)
            return
        self.transport.write(head)
        self.transport.write(body[: answer.n_sent])
        if answer.reset:
            end = self.transport.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            # A forked process may hold the socket too: closing it would not end it.
            self.transport.write_eof()
            self.transport.close()


def report(server: RangeServer) -> dict[str, Any]:
    """Return what was asked for, the time it took the process, and count anew.

    Of ``ranges``, each is the name of an object, its first byte and its end.
    """
    asked = server.requests
    server.forget()
    ranges = [
        (request.name, *range_of(request.headers["range"], 1 << 62))
        for request in asked
        if request.status == 206
    ]
    return {
        "requests": len(asked),
        "n_bytes": sum(request.n_bytes for request in asked),
        "most_in_flight": max((request.in_flight for request in asked), default=0),
        "processor_s": time.process_time(),
        "ranges": ranges,
    }


def main() -> None:
    """Serve a folder until the standard input ends."""
    from tests.servers.faults import late

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    given = parser.parse_args()
    server = RangeServer(given.folder, faults=[late(given.latency_ms / 1e3)])
    with server:
        print(server.url, flush=True)  # noqa: T201  # whoever started it reads it
        for _ in sys.stdin:
            print(json.dumps(report(server)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
