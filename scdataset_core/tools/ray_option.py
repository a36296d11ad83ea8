"""The option ``--ray [ADDRESS]`` of commands that spread files over a cluster."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .help_page import HelpPage

__all__ = ["CommandGroup", "RayAddress", "address_of"]

_ADDRESS = re.compile(r"auto|local|ray://.+|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Spread the files over a Ray cluster: the one that runs here (or a new"
        " one on this machine), auto, local, HOST:PORT or ray://HOST:PORT.",
    ),
]


def address_of(given: str | None) -> str | bool | None:
    """Return what the functions of the tools take for what the option was given."""
    return True if given == "" else given


class CommandGroup(HelpPage):
    """Commands whose option ``--ray`` may stand without a value."""

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """Take the arguments of the command line."""
        return super().parse_args(ctx, _complete(args))


def _complete(args: Sequence[str]) -> list[str]:
    """Return the arguments, with an empty value after each ``--ray`` without one."""
    options = list(args)[: [*args, "--"].index("--")]
    complete = []
    for i, arg in enumerate(options):
        complete.append(arg)
        after = options[i + 1] if i + 1 < len(options) else ""
        if arg == "--ray" and not _ADDRESS.fullmatch(after):
            complete.append("")
    return [*complete, *args[len(options) :]]
