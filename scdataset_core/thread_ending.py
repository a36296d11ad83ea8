"""Starting and ending threads, safely under forks, interrupts and lack of memory."""

import contextlib
import ctypes
import mmap
import os
import sys
import threading
import time
import weakref
from _thread import interrupt_main
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

__all__ = ["Ending", "join_all", "start_all"]

_FIRST_STEP_BYTES = 4 << 20  # Python's own arenas are of 1 MiB
_BEGIN_S = 1.0  # longest wait for a thread whose start was interrupted
# An owner may be collected in a thread that holds a lock which its threads wait for.
_COLLECTED_S = 5.0


class Ending:
    """Runs ``end(*args)`` once: when called, when `owner` is collected, or at exit.

    In a forked child it does nothing: the threads are not there, and a lock that one
    of them held stays locked. The interpreter would print and forget an interrupt
    (Ctrl-C, or the SystemExit of a handler of SIGTERM) that comes while `owner` is
    being collected; here it is raised in the main thread afterwards.

    Parameters
    ----------
    owner
        The object whose threads are ended; it is not kept alive.
    end
        Ends the threads; it must hold no reference to `owner`.
    args
        Arguments of `end`.
    """

    def __init__(self, owner: object, end: Callable[..., object], *args: Any) -> None:
        self._pid = os.getpid()
        # Unlike __del__, a finalizer runs at exit while threads still do.
        self._finalizer = weakref.finalize(owner, _end_collected, self._pid, end, args)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made the object."""
        return self._pid == os.getpid()

    def __call__(self) -> None:
        """End now; an interrupt is raised here, once everything has ended."""
        known = self._finalizer.peek()
        if known is not None and self.is_here:
            _, _, (_, end, args), _ = known
            end(*args)
            self._finalizer.detach()  # not reached after an interrupt: `end` runs again


def _end_collected(pid: int, end: Callable[..., object], args: tuple[Any, ...]) -> None:
    if pid != os.getpid():
        return
    try:
        end(*args)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        if not _pass_on(interrupt):
            raise


def _pass_on(interrupt: BaseException) -> bool:
    """Start a thread that interrupts the main thread after `_end_collected`."""
    helper = threading.Thread(target=_interrupt, args=(interrupt,), daemon=True)
    with contextlib.suppress(KeyboardInterrupt):  # one interrupt is passed on already
        try:
            helper.start()
        except RuntimeError:  # no thread can be started; the interrupt is printed
            return False
    return True


def _interrupt(interrupt: BaseException) -> None:
    """Interrupt the main thread once no finalizer runs, which would swallow it."""
    main = threading.main_thread().ident
    while main is not None and _is_ending(sys._current_frames().get(main)):
        time.sleep(0.001)
    if not isinstance(interrupt, SystemExit):
        interrupt_main()
        return

    class Exit(SystemExit):  # the interpreter makes one of it, without arguments
        def __init__(self) -> None:
            super().__init__(*interrupt.args)

    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(main or 0), ctypes.py_object(Exit))


def _is_ending(frame: FrameType | None) -> bool:
    codes = (_end_collected.__code__, weakref.finalize.__call__.__code__)
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def start_all(threads: Sequence[threading.Thread]) -> None:
    """Start threads.

    Raises
    ------
    RuntimeError
        If the system refuses to start a thread. Those before it run on.
    """
    for thread in threads:
        try:
            _check_memory()
            thread.start()
        except RuntimeError as error:
            error.add_note(
                f"{thread.name}, one of {len(threads)} threads for reading, could not"
                " be started: the process may be at its limit of memory (ulimit -v) or"
                " threads (ulimit -u); Loader(read_ahead=0, threads=1) reads on none"
            )
            raise


def _check_memory() -> None:
    """Raise if a thread would have no memory for its first step.

    Such a thread ends at once, and `Thread.start` waits for it for ever.
    """
    try:
        mmap.mmap(-1, _FIRST_STEP_BYTES).close()
    except OSError as error:
        raise RuntimeError("can't start new thread: no memory is left") from error


def join_all(threads: Sequence[threading.Thread], *, limit_s: float) -> None:
    """Wait until the threads that were started have ended; they must be ending.

    An interrupt is raised when all have ended; a second one ends the waiting. The wait
    is a short one where the owner of the threads is being collected.

    Parameters
    ----------
    threads
        Threads, some of which may not have been started.
    limit_s
        Longest wait for each.
    """
    if _is_ending(sys._getframe()):
        limit_s = min(limit_s, _COLLECTED_S / max(len(threads), 1))
    interrupt: BaseException | None = None
    for thread in threads:
        try:
            _join(thread, limit_s)
        except BaseException as error:
            if interrupt is not None:
                raise
            interrupt = error
            _join(thread, limit_s)
    if interrupt is not None:
        raise interrupt


def _join(thread: threading.Thread, limit_s: float) -> None:
    if thread is threading.current_thread():
        return
    until = time.monotonic() + _BEGIN_S
    while time.monotonic() < until:
        try:
            thread.join(limit_s)
        except RuntimeError:  # not started, or an interrupt came during its start
            if thread not in threading.enumerate():
                return
            time.sleep(0.001)
        else:
            return
