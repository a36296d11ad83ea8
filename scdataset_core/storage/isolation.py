"""Calls functions in one child process, so that damaged files cannot harm this one.

HDF5 is C code that trusts what files say: a damaged or hostile file may make it run for
ever, take all memory, or crash the interpreter. What :func:`call_isolated` calls runs
in a child process, one for all calls, with limits of time and memory. It is started
when it is first needed, runs nothing of the user's program, and ends with this process.

Objects that were made in the child, and go back to it for more, ask :func:`is_child`.
"""

import atexit
import os
import pickle
import signal
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CorruptFileError, ScdatasetError
from .decoding.registry import know_filters, known_filters
from .io.fork_safe_lock import ForkSafeLock

__all__ = ["call_isolated", "is_child", "serve"]

T = TypeVar("T")

# A file of a few MB takes a second of processor time at most, also on slow machines.
LEAST_CPU_S, BYTES_A_CPU_S = 15, 20_000_000
WALL_S = 600  # for disks that do not answer
LEAST_MEMORY, MEMORY_A_BYTE = 2 << 30, 4
_HEAD = struct.Struct("<Q")
_START = "import sys; sys.path[:] = {path!r}; import {module} as m; m.serve()"

_is_child = False


def is_child() -> bool:
    """Return whether this is the child process."""
    return _is_child


def call_isolated(
    function: Callable[..., T],
    *arguments: Any,  # Any: whatever the function takes
    file: str,
) -> T:
    """Return what a function returns, called in the child process.

    Parameters
    ----------
    function
        A function of a module of this package.
    arguments
        Its arguments, which pickle.
    file
        The file or folder that it reads, for errors and limits.

    Raises
    ------
    CorruptFileError
        If the child crashes, or exceeds its time or memory.
    OSError
        If no child process can be started.
    Exception
        What the function raises.
    """
    if _is_child:
        return function(*arguments)
    n_bytes = _n_bytes(file)
    memory = LEAST_MEMORY + MEMORY_A_BYTE * n_bytes
    asked = {
        "call": (function, arguments),
        "cpu_s": LEAST_CPU_S + n_bytes // BYTES_A_CPU_S,
        "memory": memory,
        "folder": str(Path.cwd()),
        "filters": known_filters(),
        "plugins": "hdf5plugin" in sys.modules,
    }
    answer = _child.ask(pickle.dumps(asked), file)
    for text, category in answer["warnings"]:
        warnings.warn(text, category, stacklevel=3)
    if isinstance(answer.get("error"), MemoryError):
        raise CorruptFileError(
            f"{file}: reading it asks for more memory than a file of its size can need"
            f" ({memory >> 20:,} MiB); the file is damaged, restore it from its origin"
        )
    if "error" in answer:
        raise answer["error"]
    result: T = answer["result"]
    return result


def _n_bytes(file: str) -> int:
    """Return the size of a file, or of all files in a folder as it was found first."""
    if not Path(file).is_dir():
        return Path(file).stat().st_size if Path(file).is_file() else 0
    if file not in _folders:
        inside = (Path(at, name) for at, _, names in os.walk(file) for name in names)
        _folders[file] = sum(path.stat().st_size for path in inside if path.is_file())
    return _folders[file]


_folders: dict[str, int] = {}


class _Child:
    """The child process of this process, started when it is first asked."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._pid = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: bytes, file: str) -> dict[str, Any]:
        """Return the answer to a request."""
        with self._lock:
            process = self._running()
            try:
                answer = _exchange(process, request)
            except BaseException:  # an interrupt: what it would answer is not read
                self.end()
                raise
            if answer is None:
                self._process = None
                _close_pipes(process)
                raise _error_for_end(process.wait(), file)
        try:
            found: dict[str, Any] = _PlainUnpickler(BytesIO(answer)).load()
        except Exception as error:
            raise CorruptFileError(
                f"{file}: the child process that read it gave no sound answer: {error}"
            ) from error
        return found

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._pid != os.getpid():  # the parent's is not this process's to ask
            if self._process is not None:
                self._process.returncode = 0  # nor to wait for
                _close_pipes(self._process)
            self._pid, self._process = os.getpid(), None
        if self._process is not None and self._process.poll() is not None:
            _close_pipes(self._process)
            self._process = None
        if self._process is None:
            self._process = _start()
        return self._process

    def end(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None and self._pid == os.getpid():
            process.kill()
            _close_pipes(process)
            process.wait()


_child = _Child()
atexit.register(_child.end)


def _start() -> "subprocess.Popen[bytes]":
    """Start a child process; it does not import the user's program."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError(
            "isolated=True reads files in another process of Python, and this program"
            " has no interpreter of its own to start (sys.executable); leave it out"
        )
    code = _START.format(path=sys.path, module=__name__)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads of BLAS would take the memory that it is limited to.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for this process
        )
    except OSError as error:
        raise OSError(
            error.errno,
            f"isolated=True reads files in a child process, which cannot be started:"
            f" {error.strerror}",
        ) from error


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> bytes | None:
    """Send a request, and return the answer; None if the process ends before."""
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(_HEAD.pack(len(request)) + request)
        process.stdin.flush()
    return _receive(process.stdout)


def _receive(pipe: Any) -> bytes | None:  # Any: a binary file
    """Return the next message; None at the end, or where one was cut short."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    message: bytes = pipe.read(size)
    return message if len(message) == size else None


def _error_for_end(status: int, file: str) -> Exception:
    """Return the error for a child process that ended in the middle of a call."""
    if status > 0:
        return OSError(
            f"{file}: isolated=True reads it in a child process, which ended with the"
            f" status {status} as it began; see what `{sys.executable} -c 'import h5py,"
            " scdataset_core'` says"
        )
    name = signal.Signals(-status).name if status else "its end"
    if -status in (getattr(signal, "SIGPROF", None), getattr(signal, "SIGALRM", None)):
        what = "did not come to an end, and was stopped"
    else:
        what = f"crashed ({name})"
    return CorruptFileError(
        f"{file}: the child process that read it {what}; the file is damaged, restore"
        " it from its origin"
    )


_PLAIN = {
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset"),
        *("int", "list", "object", "range", "set", "slice", "str", "tuple"),
    },
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
}


class _PlainUnpickler(pickle.Unpickler):
    """Takes descriptions from the child, and nothing that could run code.

    These are classes of this package, arrays, plain values and exceptions.
    """

    def find_class(self, module: str, name: str) -> Any:  # Any: a class
        """Return a class that may be part of an answer."""
        if name in _PLAIN.get(module, ()) or module.startswith("numpy.dtypes"):
            return super().find_class(module, name)
        if module.partition(".")[0] in ("builtins", __package__.partition(".")[0]):
            found = super().find_class(module, name)
            own = module != "builtins" and getattr(found, "__module__", "") == module
            if isinstance(found, type) and (own or issubclass(found, Exception)):
                return found
        raise pickle.UnpicklingError(f"a child process may not answer {module}.{name}")


def serve() -> None:
    """Answer requests until there are no more: what the child process does."""
    global _is_child
    _is_child = True
    _let_signals_end_this()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed is no answer
    while (request := _receive(requests)) is not None:
        answer = _answer(request)
        answers.write(_HEAD.pack(len(answer)) + answer)
        answers.flush()


def _let_signals_end_this() -> None:
    """Give the signals of :func:`_limit` back their action.

    A process that ignores or blocks signals hands that on to those it starts.
    """
    for name in ("SIGALRM", "SIGPROF"):
        number = getattr(signal, name, None)
        if number is not None:  # Windows has neither
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


def _answer(request: bytes) -> bytes:
    """Call what is asked for, and return the pickled answer."""
    asked = pickle.loads(request)
    function, arguments = asked["call"]
    answer: dict[str, Any] = {"warnings": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            os.chdir(asked["folder"])
            if asked["plugins"]:
                import hdf5plugin  # noqa: F401  # it brings its filters to HDF5
            know_filters(asked["filters"])
            _limit(asked["cpu_s"], WALL_S, asked["memory"])
            answer["result"] = function(*arguments)
        except Exception as error:  # for the process that asked
            answer["error"] = error
        finally:
            _limit(0, 0, None)
    answer["warnings"] = [
        (str(w.message), UserWarning)
        for w in caught
        if issubclass(w.category, UserWarning)
    ]
    try:
        return pickle.dumps(answer)
    except Exception as error:
        what = answer.get("error", error)
        return pickle.dumps(
            {"warnings": [], "error": ScdatasetError(f"{type(what).__name__}: {what}")}
        )


def _limit(cpu_s: int, wall_s: int, memory: int | None) -> None:
    """End this process by a signal after some time; limit its memory.

    Signals whose action is the system's end it in the middle of a loop of C, and also
    where the process that asked is gone. With 0 and None, there is no limit.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        signal.alarm(wall_s)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if memory is None or hard != resource.RLIM_INFINITY:
            memory = hard
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
