"""Spreads files over a Ray cluster, and collects what becomes of each."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..optional import import_optional

__all__ = ["Outcome", "Work", "names_cluster", "run_on_cluster"]

Work = Callable[[Any, Callable[[float], None]], Any]
"""``work(item, tell)``: what a worker does; ``tell(share)`` says how far it is."""

_TELL_S = 0.5  # least time between two words of a worker to the one that waits
_QUEUED = 4  # tasks that wait for each core, so that no core waits for a task


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Parameters
    ----------
    result
        What the work returned; None if it failed.
    error
        Why it failed, in words; None if it did not.
    """

    result: Any = None
    error: str | None = None


def names_cluster(ray: str | bool | None) -> TypeGuard[str | bool]:
    """Return whether the argument ``ray`` of a tool asks for a cluster."""
    return ray is not None and ray is not False


def run_on_cluster(
    work: Work,
    items: Sequence[Any],
    address: str | bool,
    *,
    threads: int | None = None,
    progress: Callable[[str, float, int], object] | None = None,
) -> list[Outcome]:
    """Do some work for each item, each in a task of Ray.

    An item that fails, or whose worker dies twice, does not keep the others from being
    done.

    Parameters
    ----------
    work
        A function of an item and of a function that it may tell its progress, from 0.0
        to 1.0. It must pickle.
    items
        What it is done for, as many as there are. Each must pickle.
    address
        Of the cluster, as ``ray.init`` takes it: ``"ray://host:10001"``, ``"auto"``
        for the one that runs here, ``"local"`` for a new one on this machine alone.
        True stands for the one that runs here, or else a new one. A cluster that this
        process has joined already is used.
    threads
        Cores that a task needs; 1 by default.
    progress
        Called now and then with ``"files"``, how many are done, parts of them counted,
        and how many there are.

    Returns
    -------
    outcomes
        One for each item, in their order.

    Raises
    ------
    ModuleNotFoundError
        If Ray is not installed.
    ConnectionError
        If there is no cluster at `address`.
    """
    ray = import_optional("ray", extra="ray", needed_by="Clusters")
    with _joined(ray, address):
        return _Run(ray, work, items, threads or 1, progress).outcomes()


@contextmanager
def _joined(ray: Any, address: str | bool) -> Iterator[None]:
    """Have this process in a cluster; it leaves the one that it joined here."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is True:
            try:
                ray.init(address="auto", **quiet)
            except ConnectionError:
                address = "local"
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address="local", include_dashboard=False, **quiet)
        elif address is not True:
            ray.init(address=address, **quiet)
        yield
    finally:
        ray.shutdown()


class _Board:
    """An actor to which workers say how far they have come."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def tell(self, number: int, share: float) -> None:
        self._shares[number] = share

    def forget(self, number: int) -> None:
        self._shares.pop(number, None)

    def total(self) -> float:
        return sum(self._shares.values())


def _do(work: Work, item: Any, number: int, board: Any) -> Any:
    """Do the work for an item; a task of Ray runs this."""
    told = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told
        now = time.monotonic()
        if board is not None and now > told + _TELL_S:
            told = now
            board.tell.remote(number, share)

    return work(item, tell)


class _Run:
    """The tasks of one call of :func:`run_on_cluster`."""

    def __init__(
        self,
        ray: Any,
        work: Work,
        items: Sequence[Any],
        n_cores: int,
        progress: Callable[[str, float, int], object] | None,
    ) -> None:
        self._ray, self._items, self._progress = ray, items, progress
        self._n_cores = n_cores
        self._warn_if_too_many()
        self._work = ray.put(work)
        self._task = ray.remote(_do).options(num_cpus=n_cores, max_retries=1)
        self._board = None
        if progress is not None:
            self._board = ray.remote(_Board).options(num_cpus=0).remote()
        self._running: dict[Any, int] = {}  # the number of the item of each task
        self._outcomes: dict[int, Outcome] = {}

    def outcomes(self) -> list[Outcome]:
        """Do everything, and return what became of each item."""
        waiting = iter(range(len(self._items)))
        try:
            while True:
                most = self._count_tasks()
                while len(self._running) < most:
                    number = next(waiting, None)
                    if number is None:
                        break
                    self._begin(number)
                if not self._running:
                    break
                self._collect()
                self._tell()
        finally:
            for task in self._running:  # of a run that was interrupted
                self._ray.cancel(task, force=True)
            if self._board is not None:
                self._ray.kill(self._board)
        return [self._outcomes[number] for number in range(len(self._items))]

    def _warn_if_too_many(self) -> None:
        """Warn where no machine can take a task: an autoscaler may bring one."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        largest = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        if self._n_cores > largest:
            warnings.warn(
                f"a task needs {self._n_cores} cores, and the largest machine of the"
                f" cluster has {largest:.0f}; it waits for a larger one. Give fewer"
                " threads if none will come",
                UserWarning,
                stacklevel=4,
            )

    def _count_tasks(self) -> int:
        """Return how many tasks may be in the cluster, as large as it is now."""
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        return max(1, cores // self._n_cores) * _QUEUED

    def _begin(self, number: int) -> None:
        item = self._items[number]
        task = self._task.remote(self._work, item, number, self._board)
        self._running[task] = number

    def _collect(self) -> None:
        """Wait a moment for tasks that end, and keep what they give."""
        running = list(self._running)
        ended, _ = self._ray.wait(running, num_returns=len(running), timeout=0)
        if not ended:
            ended, _ = self._ray.wait(running, num_returns=1, timeout=_TELL_S)
        for task in ended:
            number = self._running.pop(task)
            self._outcomes[number] = self._outcome(task)
            if self._board is not None:
                self._board.forget.remote(number)

    def _outcome(self, task: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            return Outcome(result=self._ray.get(task))
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            return Outcome(error=str(cause) or type(cause).__name__)
        except errors.RayError as error:  # the worker or its machine is gone
            words = str(error).strip().partition("\n")[0]
            return Outcome(error=f"the worker that did it died: {words}")

    def _tell(self) -> None:
        if self._progress is None:
            return
        done: float = len(self._outcomes)
        if self._board is not None:
            try:
                done += self._ray.get(self._board.total.remote())
            except self._ray.exceptions.RayError:  # its machine is gone
                self._board = None
        self._progress("files", min(done, len(self._items)), len(self._items))
