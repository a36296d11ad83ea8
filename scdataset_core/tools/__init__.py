"""Tools built on the loader: what the command line does, as functions.

:func:`verify` returns plain data, which ``--json`` prints.
"""

from .verification import verify

__all__ = ["verify"]
