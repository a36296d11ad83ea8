"""The option of commands that says how object stores are reached."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

__all__ = ["StorageArgument", "parse_storage_options"]

StorageArgument = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-options",
        metavar="KEY=VALUE",
        help="How URLs are reached: KEY=VALUE, which may repeat, or one JSON object.",
    ),
]

_WORDS = {"true": True, "false": False, "null": None}


def parse_storage_options(texts: Iterable[str] | None) -> dict[str, Any] | None:
    """Return the `storage_options` that the arguments of a command stand for.

    No message shows a value, which may be secret.

    Parameters
    ----------
    texts
        Each ``"KEY=VALUE"`` or a JSON object; later ones replace earlier ones. A key
        such as ``client_options.allow_http`` is one of an inner object. A value is
        text, but for ``true``, ``false`` and JSON objects.

    Returns
    -------
    options
        None if there are none.

    Raises
    ------
    ValueError
        If a text is neither.
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
    return options or None


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
