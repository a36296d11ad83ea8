"""The option of commands that says how object stores are reached."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

__all__ = ["StorageArgument", "parse_storage_options"]

StorageArgument = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-options",
        "-o",
        metavar="KEY=VALUE",
        help="How URLs are reached: KEY=VALUE, which may repeat, or one JSON object.",
    ),
]

_WORDS = {"true": True, "false": False, "null": None}
_DURATION = re.compile(r"([0-9.]+) *(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _time(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


# The options that obstore takes as no text: numbers and times.
_RETRY: Mapping[str, Callable[[str], Any]] = {
    "max_retries": int,
    "retry_timeout": _time,
    "init_backoff": _time,
    "max_backoff": _time,
    "base": float,
}


def parse_storage_options(texts: Iterable[str] | None) -> dict[str, Any] | None:
    """Return the `storage_options` that the arguments of a command stand for.

    No message shows a value, which may be secret.

    Parameters
    ----------
    texts
        Each ``"KEY=VALUE"`` or a JSON object; later ones replace earlier ones. A key
        such as ``client_options.allow_http`` is one of an inner object. A value is
        text, but for ``true``, ``false`` and JSON objects, and for the numbers and
        times (``10s``, ``500ms``, ``3m``) in ``retry_config``.

    Returns
    -------
    options
        None if there are none.

    Raises
    ------
    ValueError
        If a text is neither, or a number or time in ``retry_config`` is none.
    """
    options: dict[str, Any] = {}
    for text in texts or ():
        if text.lstrip().startswith("{"):
            _merge(options, _parse_object(text, "--storage-options"))
            continue
        key, sign, value = text.partition("=")
        if not (key.strip() and sign):
            raise ValueError(
                "--storage-options takes KEY=VALUE or a JSON object, such as"
                ' region=eu-west-1 or \'{"region": "eu-west-1"}\', and got something'
                " else"
            )
        *outer, name = key.strip().split(".")
        parsed: Any = _WORDS.get(value, value)
        if value.startswith("{"):
            parsed = _parse_object(value, key)
        inner: dict[str, Any] = {name: parsed}
        for part in reversed(outer):
            inner = {part: inner}
        _merge(options, inner)
    if isinstance(retry := options.get("retry_config"), dict):
        options["retry_config"] = _read_numbers(retry, "retry_config")
    return options or None


def _read_numbers(options: Mapping[str, Any], of: str) -> dict[str, Any]:
    """Return options with numbers and times in place of the text for them."""
    read: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            value = _read_numbers(value, f"{of}.{name}")
        elif isinstance(value, str) and name in _RETRY:
            try:
                value = _RETRY[name](value)
            except (ValueError, OverflowError):
                what = "a time, as 10s" if _RETRY[name] is _time else "a number"
                raise ValueError(
                    f"--storage-options: {of}.{name} must be {what}"
                ) from None
        read[name] = value
    return read


def _parse_object(text: str, of: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{of}: this is no JSON object: {error.msg} at character {error.pos}"
        ) from None  # the error holds the text
    return dict(found)


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Add options, and those of inner objects to what is there of them."""
    for name, value in more.items():
        known = into.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            into[name] = value
