"""Count epochs in shared memory, so that all worker processes start the same epoch.

A ``DataLoader`` does not tell its workers the number of an epoch, nor that a new one
has begun: workers that do not persist start each epoch as copies of the same dataset.
But the ``DataLoader`` draws a new base seed for each set of workers, which those
workers share; and workers that persist can count their own iterations. So the first
worker of an iteration moves the counter on and notes seed and count, and the others
find the note and take the same epoch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import context, get_context
from typing import Any

__all__ = ["EpochCounter", "Iteration", "Start"]

# Semaphores of the spawn context reach workers of every start method.
_SPAWN = get_context("spawn")

_NEXT, _PENDING, _LATEST, _LATEST_KIND, _TURN, _BEGUN = range(6)
_HEAD = 6
_NOTES = 16  # iterations that workers can still join; more than one at once is rare
_SEED, _ORDINAL, _WORKERS, _EPOCH, _KIND = range(5)
_FIELDS = 5
# A note has a bit for each worker that has joined, in words of so many bits.
_BITS = 62
_WORDS = 32
_NOTE = _FIELDS + _WORDS

# Counting takes microseconds.
_LONGEST_S = 60.0

_NOT_BEGUN, _FRESH, _RESUMED, _IN_WORKERS = range(4)


@dataclass(frozen=True)
class Iteration:
    """The facts by which the workers of one iteration recognise each other.

    Parameters
    ----------
    base_seed
        The seed from which all workers of the iteration derive their own.
    ordinal
        Number of iterations that this process had begun before this one.
    worker, num_workers
        Number of this worker, and how many workers there are.
    """

    base_seed: int
    ordinal: int
    worker: int
    num_workers: int


@dataclass(frozen=True)
class Start:
    """The start of an iteration: its epoch, and whether a state is resumed.

    Parameters
    ----------
    epoch
        Epoch of the iteration.
    resumes
        Whether this is the first iteration since the loader was wrapped or a state was
        loaded. It then goes on where the loader or the state stands.
    """

    epoch: int
    resumes: bool


class EpochCounter:
    """The epochs of the next and of the latest iteration, in shared memory.

    Worker processes of any start method share the counter. Pickling it for anything
    else makes a copy.

    Parameters
    ----------
    epoch
        Epoch of the first iteration.
    """

    def __init__(self, epoch: int) -> None:
        self._cells: Any = _SPAWN.Array("q", _HEAD + _NOTES * _NOTE)
        self.load(epoch)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out, unless one was killed as it kept others out."""
        lock = self._cells.get_lock()
        if not lock.acquire(timeout=_LONGEST_S):
            raise RuntimeError(
                "epochs cannot be counted: a worker was killed, or is stopped, while"
                " it counted one; make the LoaderDataset and its DataLoader again"
            )
        try:
            yield
        finally:
            lock.release()

    def load(self, epoch: int) -> None:
        """Start counting at `epoch`, as if no iteration had begun."""
        with self._alone():
            self._cells[_NEXT] = epoch
            self._cells[_PENDING] = 1
            self._cells[_LATEST_KIND] = _NOT_BEGUN
            self._cells[_BEGUN] = 0

    def set(self, epoch: int, *, resumes: bool) -> None:
        """Make `epoch` the next epoch; it resumes a loaded state or starts afresh."""
        with self._alone():
            self._cells[_NEXT] = epoch
            self._cells[_PENDING] = int(resumes)

    @property
    def pending(self) -> bool:
        """Whether no iteration has begun since the loader was wrapped or loaded."""
        with self._alone():
            return bool(self._cells[_PENDING])

    @property
    def n_begun(self) -> int:
        """Iterations that any process has begun, since a state was loaded if at all."""
        with self._alone():
            return int(self._cells[_BEGUN])

    @property
    def latest(self) -> Start | None:
        """The latest iteration; None if it went on from states loaded in workers.

        Before the first iteration, this is where the first will start.
        """
        with self._alone():
            kind = self._cells[_LATEST_KIND]
            if kind == _NOT_BEGUN:
                return Start(self._cells[_NEXT], bool(self._cells[_PENDING]))
            if kind == _IN_WORKERS:
                return None
            return Start(int(self._cells[_LATEST]), bool(kind == _RESUMED))

    @property
    def epoch(self) -> int:
        """Epoch of the latest iteration, or of the next one before the first."""
        with self._alone():
            begun = self._cells[_LATEST_KIND] != _NOT_BEGUN
            return int(self._cells[_LATEST if begun else _NEXT])

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        with self._alone():
            return int(self._cells[_NEXT])

    def begin(self, iteration: Iteration | None, *, at: int | None = None) -> Start:
        """Count an iteration once, whichever of its workers calls first.

        Parameters
        ----------
        iteration
            The iteration as the worker knows it; None in the main process.
        at
            Epoch of the iteration, if the worker has a state of its own. By default it
            is the next epoch.

        Returns
        -------
        start
            The start of the iteration, the same for all its workers.
        """
        with self._alone():
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
        cells[_BEGUN] += 1
        kind = _RESUMED if resumes else _FRESH
        cells[_LATEST_KIND] = kind if at is None else _IN_WORKERS
        return Start(epoch, resumes)

    def _find(self, iteration: Iteration) -> int | None:
        """Return where another worker has noted the iteration, or None.

        A note that this worker has joined already belongs to an earlier iteration: the
        base seed comes again if the user seeds PyTorch alike before every epoch.
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
                cells[note + _WORKERS] = 0  # that iteration is over
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
        with self._alone():
            return list(self._cells)

    def __setstate__(self, cells: Any) -> None:
        if isinstance(cells, list):
            cells = _SPAWN.Array("q", cells)
        self._cells = cells
