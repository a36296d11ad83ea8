"""Errors of object stores, as errors of this library that hold nothing secret.

What obstore and other libraries say of a failed request has the whole URL in it, with
signatures and passwords, and what the server answered. So their text is looked through
for what is known to be harmless, and neither kept nor chained.
"""

import re

from ...errors import (
    FileChangedError,
    FileFormatError,
    ObjectMissingError,
    ScdatasetError,
    StoreAccessError,
    StoreError,
)

__all__ = ["ShortAnswerError", "explain", "is_short_answer"]

_STATUS = re.compile(r"status code: (\d{3})\b")
_CODE = re.compile(r"<Code>([A-Za-z]{3,60})</Code>")
_RETRIES = re.compile(r"after (\d+) retries")
_KIND = re.compile(r"kind: (Connect|Timeout|Interrupted|Decode|Request)\b")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenExpired"}


class ShortAnswerError(Exception):
    """A store answered with fewer bytes than were asked for."""


def is_short_answer(error: Exception) -> bool:
    """Return whether a store answered with another range than it was asked for."""
    return isinstance(error, ShortAnswerError) or "UnexpectedRange" in str(error)


def explain(
    error: Exception,
    name: str,
    *,
    span: tuple[int, int] | None = None,
    was_open: bool = False,
) -> ScdatasetError:
    """Return the error to raise for a failed request; the caller does not chain it.

    Parameters
    ----------
    error
        What obstore or another library raised.
    name
        The URL of the object, without anything secret.
    span
        The bytes that were asked for.
    was_open
        Whether the object was there before.
    """
    if isinstance(error, ScdatasetError):
        return error
    where = name if span is None else f"{name}, bytes {span[0]} to {span[1]}"
    kind, text = type(error).__name__, str(error)
    status = _first(_STATUS, text)
    code = _first(_CODE, text)
    said = "".join(
        [f" (status {status})" if status else "", f" ({code})" if code else ""]
    )
    if kind in ("PreconditionError", "NotModifiedError") or status == "412":
        return FileChangedError(
            f"{name} changed since it was opened: the store has another version of it"
            f"{said}; open the source again once nothing writes to it"
        )
    if code in _EXPIRED or "expired" in text.lower():
        return StoreAccessError(
            f"{where}: the credentials have expired{said}; open it again with new ones,"
            " in storage_options={...}, and load the state of the loader"
        )
    if isinstance(error, FileNotFoundError) or status == "404":
        return _explain_missing(name, code, said, was_open=was_open)
    if kind == "UnauthenticatedError" or status == "401":
        return StoreAccessError(
            f"{where}: the store asks for credentials{said}, or does not accept those"
            " it got; give them as storage_options={...}"
        )
    refused = kind == "PermissionDeniedError" or isinstance(error, PermissionError)
    if refused or status == "403":
        return StoreAccessError(
            f"{where}: the store refuses access{said}: the credentials may not read it,"
            " or there are none; give others as storage_options={...}, and for a public"
            ' bucket storage_options={"skip_signature": True}'
        )
    if (kind == "NotSupportedError" and "ange" in text) or "non-partial" in text:
        return FileFormatError(
            f"{name}: its server does not serve ranges of bytes, so that it cannot be"
            " read in place; download it, and open the local file"
        )
    if status == "416" and was_open:
        return FileChangedError(
            f"{where}: the object ends before{said}: it shrank since it was opened;"
            " open it again once nothing writes to it"
        )
    return StoreError(f"{where}: {_describe(error, text, status, code)}")


def _explain_missing(
    name: str, code: str | None, said: str, *, was_open: bool
) -> ScdatasetError:
    if was_open:
        return FileChangedError(
            f"{name} is not there any more{said}; open the source again once nothing"
            " writes to it"
        )
    what = "there is no such object"
    if code in ("NoSuchBucket", "ContainerNotFound"):
        what = "there is no such bucket"
    return ObjectMissingError(f"{name}: {what}{said}; check the URL")


def _describe(error: Exception, text: str, status: str | None, code: str | None) -> str:
    """Return what went wrong with a request, and what to do."""
    retries = _first(_RETRIES, text)
    tried = f", after {retries} retries" if retries else ""
    if is_short_answer(error):
        return (
            "the store answers with fewer bytes than it was asked for; the object may"
            " have shrunk: open it again once nothing writes to it"
        )
    if status is not None:
        also = f" ({code})" if code else ""
        hint = "try again later"
        if status in ("301", "307", "308", "400"):
            hint = "check region and endpoint in storage_options={...}"
        if status in ("429", "503"):
            hint = (
                "try again later, or with fewer requests at a time, which the"
                " environment variable SCDATASET_REQUESTS sets"
            )
        return f"the store answers with status {status}{also}{tried}; {hint}"
    kind = _first(_KIND, text)
    if kind == "Connect":
        return (
            f"the host cannot be reached{tried}; check the URL, the endpoint in"
            " storage_options={...} and the network"
        )
    if kind == "Timeout" or "imed out" in text or "TimedOut" in text:
        return (
            f"the store did not answer in time{tried}; raise the time in"
            ' storage_options={"client_options": {"timeout": "60s"}}, or try again'
        )
    if "body" in text or kind in ("Interrupted", "Decode"):
        return f"the connection broke off{tried}; try again later"
    return (
        f"it cannot be read ({type(error).__name__}{tried}); check storage_options, or"
        " the store or file that open() was given"
    )


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None
