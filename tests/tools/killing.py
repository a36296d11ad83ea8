"""Processes that are killed while they write, at a moment that a test draws."""

import multiprocessing
import os
import time
from collections.abc import Callable


def kill_run(
    run: Callable[[Callable[[], None]], object], number: int, after_s: float
) -> None:
    """Send a signal to a forked process, which runs a function, and wait for its end.

    The function is given another one, to call when it has begun: the signal comes
    `after_s` seconds after that, if the process has not ended by itself. A fork has
    imported all already, so that the moments are those of its work.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(lambda: there.send(None),))
    process.start()
    there.close()
    assert here.poll(100)  # what it sent, or the end
    time.sleep(after_s)
    assert process.pid is not None
    os.kill(process.pid, number)  # it is there until it is waited for
    process.join()
    here.close()
