"""Positions: how far an epoch has come, and where the next iteration begins."""

from dataclasses import dataclass, field, replace

from .ranges import NOTHING_DONE, Ranges

__all__ = ["Bookmark", "Position", "Start"]


@dataclass(frozen=True)
class Position:
    """How far one rank and worker has come in an epoch.

    Parameters
    ----------
    epoch
        The epoch.
    done
        Minibatches that any rank or worker had yielded when the work was last dealt.
    yielded
        Minibatches that this rank and worker has yielded since.
    """

    epoch: int
    done: Ranges = field(default_factory=lambda: NOTHING_DONE, compare=False)
    yielded: int = 0


class Bookmark:
    """The position of one iterator: the iterator moves it, and its Loader reads it.

    A Loader knows its latest iterator by the bookmark alone, so that an iterator that
    nobody holds is collected, and its threads end.

    Parameters
    ----------
    position
        Where the iterator begins.
    """

    def __init__(self, position: Position) -> None:
        self._beginning = position
        self._n_since = 0  # minibatches since then
        self.is_overtaken = False  # a later iterator of the Loader began

    @property
    def position(self) -> Position:
        """Where the iterator stands."""
        begun = self._beginning
        return replace(begun, yielded=begun.yielded + self._n_since)

    def advance(self) -> None:
        """Count one more minibatch as yielded."""
        self._n_since += 1


@dataclass(frozen=True)
class Start:
    """Where the next iteration of a Loader begins.

    Parameters
    ----------
    position
        The position; after the state of a finished epoch the next epoch begins instead,
        unless `is_held`.
    is_loaded
        Whether `position` comes from a state, and no iteration has begun since.
    is_merged
        Whether that state is one of all ranks and workers.
    is_held
        Whether `set_epoch` has asked for the very epoch of that state: if the state is
        that of a finished epoch, the next iteration yields nothing.
    """

    position: Position
    is_loaded: bool = False
    is_merged: bool = False
    is_held: bool = False

    def at_epoch(self, epoch: int) -> "Start":
        """Return where `set_epoch` moves the start: the epoch of a state is held."""
        if self.is_loaded and epoch == self.position.epoch:
            return replace(self, is_held=True)
        return Start(Position(epoch))
