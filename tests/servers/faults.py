"""What goes wrong with the answers of a :class:`~.range_server.RangeServer`.

A fault takes a request and its answer, and returns the answer to give instead. `times`,
`after` and `on` say which requests a fault meets.
"""

from concurrent.futures import Future
from dataclasses import replace
from itertools import count

from tests.servers.answers import Answer, Request, error
from tests.servers.range_server import Fault


def late(*seconds: float) -> Fault:
    """Answer late; of several times, requests take one after another, in turn.

    So with ``late(0.05, 0)`` every second answer overtakes the one before.
    """
    number = count()

    def fault(request: Request, answer: Answer) -> Answer:
        answer.delay_s += seconds[next(number) % len(seconds)]
        return answer

    return fault


def held(until: "Future[None]") -> Fault:
    """Answer once something is done."""

    def fault(request: Request, answer: Answer) -> Answer:
        answer.held = until
        return answer

    return fault


def refuse(status: int, code: str = "Refused") -> Fault:
    """Answer with a status, and an S3 error code in the body."""
    return lambda request, answer: replace(error(status, code), delay_s=answer.delay_s)


def refuse_above(n_at_once: int) -> Fault:
    """Answer 503 while more than so many requests wait for their answers."""
    refused = refuse(503, "SlowDown")

    def fault(request: Request, answer: Answer) -> Answer:
        return refused(request, answer) if request.in_flight > n_at_once else answer

    return fault


def cut_short(n_bytes: int, *, reset: bool = False) -> Fault:
    """End the connection after so many bytes of the body, if need be by a reset."""

    def fault(request: Request, answer: Answer) -> Answer:
        answer.n_sent, answer.reset = min(n_bytes, len(answer.body)), reset
        return answer

    return fault


def redirect(url: str, *, status: int = 307) -> Fault:
    """Send requests on to the same path under another address."""

    def fault(request: Request, answer: Answer) -> Answer:
        return Answer(status, {"Location": url + request.path})

    return fault


def times(n: int, fault: Fault) -> Fault:
    """Let a fault meet the first `n` requests that come to it."""
    number = count()
    return lambda request, answer: (
        fault(request, answer) if next(number) < n else answer
    )


def after(n: int, fault: Fault) -> Fault:
    """Let a fault meet all requests but the first `n` that come to it."""
    number = count()
    return lambda request, answer: (
        answer if next(number) < n else fault(request, answer)
    )


def on(fault: Fault, *, method: str = "", within: str = "") -> Fault:
    """Let a fault meet requests of a method, or whose path has some text in it."""

    def chosen(request: Request, answer: Answer) -> Answer:
        meets = method in ("", request.method) and within in request.name
        return fault(request, answer) if meets else answer

    return chosen
