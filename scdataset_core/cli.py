"""The command `scdataset`; its commands are in :mod:`scdataset_core.tools.commands`."""

import signal
import sys
from types import FrameType

from .checks import install_command

__all__ = ["main"]

_stopped_by: list[int] = []


def main() -> None:
    """Run the command line, or say which extra it needs.

    Ctrl-C and SIGTERM end it as :class:`SystemExit` does: half-written files are
    removed, and the exit code is the one that shells give, 130 or 143.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        _run()
    except BaseException:
        # A package that is being imported may turn the signal into an error of its own.
        if not _stopped_by:
            raise
        sys.stderr.write("scdataset: interrupted\n")
        sys.exit(128 + _stopped_by[0])
    finally:
        # While the interpreter ends, there is nothing left to remove.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run() -> None:
    try:
        from .tools.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(
            f"scdataset: the command line needs {error.name}; install it with"
            f" `{install_command('cli')}`"
        )
    app(prog_name="scdataset")


def _stop(number: int, frame: FrameType | None) -> None:
    _stopped_by.append(number)
    sys.exit(128 + number)
