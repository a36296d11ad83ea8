"""The command `scdataset`; its commands are in :mod:`scdataset_core.tools.commands`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from .tools.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(
            f"scdataset: the command line needs {error.name}; install it with"
            " `pip install 'scdataset-core[cli]'`"
        )
    app()
