"""Which epoch comes next: one counter in shared memory, for every worker process.

A ``DataLoader`` tells its workers neither the number of an epoch nor that a new one has
begun: workers that do not persist start each epoch as copies of the same dataset. What
the workers of one iteration do share, and those of the next do not, is the base seed
that the DataLoader draws in the main process for each set of workers; workers that
persist count their own iterations. So the first worker of an iteration moves the
counter on, and the others find what it noted and join in.
"""

from dataclasses import dataclass
from multiprocessing import context, get_context
from typing import Any

__all__ = ["EpochCounter", "Iteration", "Start"]

# Semaphores of the spawn context reach workers of every start method.
_SPAWN = get_context("spawn")

_NEXT, _PENDING, _LATEST, _LATEST_KIND, _TURN = range(5)
_HEAD = 5
_NOTES = 16  # iterations that workers can still join; two at once are already rare
_SEED, _ORDINAL, _WORKERS, _EPOCH, _KIND = range(5)
_FIELDS = 5
_BITS = 62  # of a word; a note has a bit for each worker that has joined
_WORDS = 32
_NOTE = _FIELDS + _WORDS

_NOT_BEGUN, _FRESH, _RESUMED, _IN_WORKERS = range(4)


@dataclass(frozen=True)
class Iteration:
    """What a worker knows of the iteration it is started for.

    Parameters
    ----------
    base_seed
        The seed that all workers of the iteration derive theirs from.
    ordinal
        How many iterations this process has begun before.
    worker, num_workers
        Which worker it is, of how many.
    """

    base_seed: int
    ordinal: int
    worker: int
    num_workers: int


@dataclass(frozen=True)
class Start:
    """How an iteration starts.

    Parameters
    ----------
    epoch
        Its epoch.
    resumes
        Whether it is the first since the loader was wrapped or a state was loaded, and
        so goes on where that stands.
    """

    epoch: int
    resumes: bool


class EpochCounter:
    """The epoch of the next iteration, and of the latest.

    It reaches worker processes of any start method as shared memory; pickled otherwise
    it is copied.

    Parameters
    ----------
    epoch
        Epoch of the first iteration.
    """

    def __init__(self, epoch: int) -> None:
        self._cells: Any = _SPAWN.Array("q", _HEAD + _NOTES * _NOTE)
        self.load(epoch)

    def load(self, epoch: int) -> None:
        """Make the next iteration the first one, at `epoch`."""
        with self._cells.get_lock():
            self._cells[_NEXT] = epoch
            self._cells[_PENDING] = 1
            self._cells[_LATEST_KIND] = _NOT_BEGUN

    def set(self, epoch: int, *, resumes: bool) -> None:
        """Make `epoch` the next one, from where a loaded state stands or afresh."""
        with self._cells.get_lock():
            self._cells[_NEXT] = epoch
            self._cells[_PENDING] = int(resumes)

    @property
    def pending(self) -> bool:
        """Whether no iteration has begun since the loader was wrapped or loaded."""
        return bool(self._cells[_PENDING])

    @property
    def latest(self) -> Start | None:
        """The latest iteration; None if it went on from states loaded in workers.

        Before the first, what the first will be.
        """
        with self._cells.get_lock():
            kind = self._cells[_LATEST_KIND]
            if kind == _NOT_BEGUN:
                return Start(self._cells[_NEXT], bool(self._cells[_PENDING]))
            if kind == _IN_WORKERS:
                return None
            return Start(int(self._cells[_LATEST]), bool(kind == _RESUMED))

    @property
    def epoch(self) -> int:
        """Epoch of the latest iteration; of the next before the first."""
        with self._cells.get_lock():
            begun = self._cells[_LATEST_KIND] != _NOT_BEGUN
            return int(self._cells[_LATEST if begun else _NEXT])

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        return int(self._cells[_NEXT])

    def begin(self, iteration: Iteration | None, *, at: int | None = None) -> Start:
        """Count an iteration, once over all its workers.

        Parameters
        ----------
        iteration
            What the worker knows of it; None in the main process.
        at
            Its epoch, where the worker has a state of its own; else the next.
        """
        with self._cells.get_lock():
            if iteration is None:
                return self._start(at)
            at_note = self._find(iteration)
            if at_note is None:
                start = self._start(at)
                at_note = self._note(iteration, start)
            self._mark(at_note, iteration.worker)
            kind = self._cells[at_note + _KIND]
            epoch = int(self._cells[at_note + _EPOCH])
            return Start(epoch, bool(kind == _RESUMED))

    def _start(self, at: int | None) -> Start:
        cells = self._cells
        epoch = cells[_NEXT] if at is None else at
        resumes = bool(cells[_PENDING])
        cells[_NEXT] = epoch + 1
        cells[_PENDING] = 0
        cells[_LATEST] = epoch
        own = _RESUMED if resumes else _FRESH
        cells[_LATEST_KIND] = own if at is None else _IN_WORKERS
        return Start(epoch, resumes)

    def _find(self, iteration: Iteration) -> int | None:
        """Return where the iteration was noted by another of its workers.

        One that this worker has joined already is over: a user who seeds PyTorch alike
        before every epoch gets the same base seed again.
        """
        key = [iteration.base_seed, iteration.ordinal, iteration.num_workers]
        for note in range(_HEAD, len(self._cells), _NOTE):
            if self._cells[note : note + 3] == key:
                word, bit = divmod(iteration.worker, _BITS)
                if not self._cells[note + _FIELDS + word] >> bit & 1:
                    return note
        return None

    def _note(self, iteration: Iteration, start: Start) -> int:
        cells = self._cells
        key = [iteration.base_seed, iteration.ordinal, iteration.num_workers]
        for note in range(_HEAD, len(cells), _NOTE):
            if cells[note : note + 3] == key:
                cells[note + _WORKERS] = 0  # an iteration that is over
        note = _HEAD + int(cells[_TURN]) % _NOTES * _NOTE
        cells[_TURN] += 1
        kind = _RESUMED if start.resumes else _FRESH
        cells[note : note + _NOTE] = [*key, start.epoch, kind, *[0] * _WORDS]
        return note

    def _mark(self, note: int, worker: int) -> None:
        word, bit = divmod(worker, _BITS)
        self._cells[note + _FIELDS + word] |= 1 << bit

    def __getstate__(self) -> Any:
        if context.get_spawning_popen() is not None:
            return self._cells
        return list(self._cells)

    def __setstate__(self, cells: Any) -> None:
        if isinstance(cells, list):
            cells = _SPAWN.Array("q", cells)
        self._cells = cells
