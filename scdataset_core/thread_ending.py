"""Ending threads: once, never in a forked child, and without losing an interrupt."""

import contextlib
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


class Ending:
    """Runs ``end(*args)`` once: when called, when `owner` is collected, or at exit.

    A forked child has none of the threads, and perhaps a lock that one of them held:
    there it does nothing. An interrupt (Ctrl-C) while `owner` is being collected, where
    the interpreter would print and forget it, is raised in the main thread afterwards.

    Parameters
    ----------
    owner
        Whose end it is; not kept alive.
    end
        What to do; knows nothing of `owner`.
    args
        Given to `end`.
    """

    def __init__(self, owner: object, end: Callable[..., object], *args: Any) -> None:
        self._pid = os.getpid()
        # Not __del__: at the end of the interpreter this runs while threads still do.
        self._finalizer = weakref.finalize(owner, _collected, self._pid, end, args)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made it."""
        return self._pid == os.getpid()

    def __call__(self) -> None:
        """End now; an interrupt is raised here, once everything has ended."""
        known = self._finalizer.peek()
        if known is not None and self.is_here:
            _, _, (_, end, args), _ = known
            end(*args)
            self._finalizer.detach()  # after an interrupt it is still to be done


def _collected(pid: int, end: Callable[..., object], args: tuple[Any, ...]) -> None:
    if pid != os.getpid():
        return
    try:
        end(*args)
    except KeyboardInterrupt:
        if not _hands_on():
            raise


def _hands_on() -> bool:
    """Let a thread interrupt the main thread once that has left `_collected`."""
    helper = threading.Thread(target=_interrupt, daemon=True)
    with contextlib.suppress(KeyboardInterrupt):  # one of them is handed on
        try:
            helper.start()
        except RuntimeError:  # no thread can be started: it is printed, then
            return False
    return True


def _interrupt() -> None:
    """Interrupt the main thread, once it is where an exception is not swallowed."""
    main = threading.main_thread().ident
    while main is not None and _is_ending(sys._current_frames().get(main)):
        time.sleep(0.001)
    interrupt_main()


def _is_ending(frame: FrameType | None) -> bool:
    codes = (_collected.__code__, weakref.finalize.__call__.__code__)
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def start_all(threads: Sequence[threading.Thread]) -> None:
    """Start threads.

    Raises
    ------
    RuntimeError
        If the system lets no further thread be started. Those before it run.
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
    """Raise where a thread would start without memory for its first step.

    It would end there, and `Thread.start` wait for it for ever.
    """
    try:
        mmap.mmap(-1, _FIRST_STEP_BYTES).close()
    except OSError as error:
        raise RuntimeError("can't start new thread: no memory is left") from error


def join_all(threads: Sequence[threading.Thread], *, limit_s: float) -> None:
    """Wait for those of the threads that were started; they must have been dismissed.

    Interrupts are raised when all have ended; a second one ends the waiting.

    Parameters
    ----------
    threads
        Threads, some of which may not have been started.
    limit_s
        Longest wait for each.
    """
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
        except RuntimeError:  # not started; or an interrupt came while it was
            if thread not in threading.enumerate():
                return
            time.sleep(0.001)
        else:
            return
