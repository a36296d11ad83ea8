"""Loads obstore, and loads it anew in processes that were forked from one that used it.

obstore sends its requests from threads of its own. A forked process has none of these
threads, and a request would wait for them for ever. The library keeps them in variables
of its shared object, so a forked process loads a copy of that object, whose variables
are new.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from typing import Any

from ...optional import import_optional
from ..io.fork_safe_lock import ForkSafeLock

__all__ = ["load_obstore"]

_EXTENSION = "obstore._obstore"


class _Loaded:
    """What this process knows of obstore."""

    lock = ForkSafeLock()
    # The process whose threads the loaded library has; None: not known yet.
    pid: int | None = None
    path: str | None = None  # of the shared object that was installed


def load_obstore() -> Any:  # Any: a module
    """Return obstore, able to send requests in this process.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    if _Loaded.pid == os.getpid():
        return sys.modules["obstore"]
    with _Loaded.lock:
        if _Loaded.pid != os.getpid():
            if _Loaded.pid is not None:
                with _copied_extension():
                    _import()
            else:
                _import()
            _Loaded.pid = os.getpid()
    return sys.modules["obstore"]


def _import() -> None:
    import_optional("obstore", "obstore.store", extra="remote", needed_by="URLs")
    if _Loaded.path is None:
        _Loaded.path = str(sys.modules[_EXTENSION].__file__)


def _note_fork() -> None:
    """Take note, in a forked child, that the parent may have used obstore."""
    if _Loaded.pid is None and _EXTENSION in sys.modules:
        _Loaded.pid = -1  # whoever imported it may have sent requests
        _Loaded.path = str(sys.modules[_EXTENSION].__file__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


class _CopyFinder:
    """Finds the extension module of obstore at another path."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Return where the extension is; None for all other modules."""
        if name != _EXTENSION:
            return None
        loader = ExtensionFileLoader(name, self._path)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


@contextmanager
def _copied_extension() -> Iterator[None]:
    """Have obstore imported anew inside the block, with a copy of its shared object."""
    assert _Loaded.path is not None
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        del sys.modules[name]
    with _copy_file(Path(_Loaded.path)) as path:
        finder = _CopyFinder(path)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)


@contextmanager
def _copy_file(origin: Path) -> Iterator[str]:
    """Give the path of a copy, which may go as soon as it is loaded."""
    if hasattr(os, "memfd_create"):  # in memory: a folder may forbid to load from it
        descriptor = os.memfd_create("obstore")
        with os.fdopen(descriptor, "wb") as copy, origin.open("rb") as file:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield shutil.copy(origin, folder)
