"""Errors of the library.

::

    ScdatasetError
    ├── FileFormatError    a file or object is not read as cells (ValueError, OSError)
    ├── CorruptFileError   bytes contradict the file's own description (OSError)
    │   └── FileChangedError   the file changed since it was opened
    ├── StoreError         an object store gives no answer, or a wrong one (OSError)
    │   ├── ObjectMissingError there is no such object or bucket (FileNotFoundError)
    │   └── StoreAccessError   the store refuses access (PermissionError)
    ├── MissingNameError   there is no such column, layer or gene (KeyError, ValueError)
    ├── GeneMismatchError  files disagree in their genes (ValueError)
    └── StateError         a state does not fit this loader (ValueError)

Plain wrong arguments raise `ValueError` or `TypeError`.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "CorruptFileError",
    "FileChangedError",
    "FileFormatError",
    "GeneMismatchError",
    "MissingNameError",
    "ObjectMissingError",
    "ScdatasetError",
    "StateError",
    "StoreAccessError",
    "StoreError",
    "nearest",
]


class ScdatasetError(Exception):
    """Base of every error that only this library raises."""


class FileFormatError(ScdatasetError, OSError, ValueError):
    """A file or object is not laid out as cells this library can read."""


class CorruptFileError(ScdatasetError, OSError):
    """A file's bytes contradict its own description of itself."""


class FileChangedError(CorruptFileError):
    """A file is no longer the one that was opened."""


class StoreError(ScdatasetError, OSError):
    """An object store cannot be reached, or answers with an error."""


class ObjectMissingError(StoreError, FileNotFoundError):
    """An object store has no such object or bucket."""


class StoreAccessError(StoreError, PermissionError):
    """An object store wants other credentials, or refuses access."""


class MissingNameError(ScdatasetError, KeyError, ValueError):
    """A name that was asked for is not there."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which hides line breaks and quotes.
        return str(self.args[0]) if self.args else ""


class GeneMismatchError(ScdatasetError, ValueError):
    """Files that are to be read as one disagree in their genes."""


class StateError(ScdatasetError, ValueError):
    """A state does not belong to this loader, or is not complete."""


def nearest(name: str, known: Iterable[str], *, most: int = 8) -> str:
    """Return a hint that names the one of `known` nearest to `name`.

    Parameters
    ----------
    name
        The name that was not found.
    known
        The names there are.
    most
        How many of them to list when none is near.

    Examples
    --------
    >>> nearest("cell_lin", ["cell_line", "drug"])
    'did you mean "cell_line"?'
    >>> nearest("Cd79a", ["CD79B", "CD79A"])  # capitals matter least
    'did you mean "CD79A"?'
    >>> nearest("x", ["cell_line", "drug"])
    'there are: cell_line, drug'
    >>> nearest("x", [])
    'there are none'
    """
    names = [str(other) for other in known]
    alike = [other for other in names if other.casefold() == str(name).casefold()]
    close = alike or difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return "there are none"
    listed = ", ".join(names[:most])
    rest = len(names) - most
    return f"there are: {listed}" + (f" and {rest} more" if rest > 0 else "")
