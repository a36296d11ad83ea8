"""Write the states of all ranks to a checkpoint of Ray Train, and read them again.

Each rank writes one small file, whose name holds its rank, and reports its folder. Ray
Train copies the folders of all ranks into one. Reading takes the files of all ranks, so
a run can go on with another number of them.
"""

import json
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow.fs
import ray.train

from scdataset_core import Loader, StateError, merge_states
from scdataset_core.dealing import Shard
from scdataset_core.state import State

from .ranks import find_ranks

__all__ = ["restore", "save"]

_READERS = 16  # small files that are read at a time
_MOST_NAMED = 16  # of missing files, in an error
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_FILE = re.compile(r"scdataset-(.+)-rank(\d+)-worker(\d+)\.json")


class Resumable(Protocol):
    """What takes a state: a Loader, or what an adapter makes of one."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> object: ...


R = TypeVar("R", bound=Resumable)


def save(
    checkpoint_dir: str | os.PathLike[str], loader: Any, *, name: str = "loader"
) -> None:
    """Write where this rank's loader stands into the folder of a checkpoint.

    Call it on every rank, after the same step, and report the folder on every rank:
    ``ray.train.report(metrics, checkpoint=Checkpoint.from_directory(checkpoint_dir))``.
    Ray Train puts the files of all ranks together. A file takes about a kilobyte.

    Parameters
    ----------
    checkpoint_dir
        The folder that is reported; it is made if it is not there.
    loader
        The loader that :func:`shard` returned; a ``scdataset_torch.LoaderDataset``
        that is iterated in this process; or a state, such as
        ``dataset.state_after(n_batches, num_workers)`` returns.
    name
        Letters, digits, ``-`` and ``_``. Give each loader its own if several go into
        one checkpoint.

    Raises
    ------
    TypeError
        If `loader` has no state.
    StateError
        If the state is not one of a Loader.
    ValueError
        If `name` is not as above, or the loader is not of this worker's rank.
    """
    _check_name(name)
    state = _state_of(loader)
    own, here = State.from_dict(state).shard, find_ranks()
    if own is None:  # a merged state, which all ranks have alike
        own = Shard() if here is None else Shard(here.rank, here.world_size)
    if here is not None and (own.rank, own.world_size) != here[:2]:
        raise ValueError(
            f"the loader is of {own}, and this worker is rank {here.rank} of"
            f" {here.world_size}; iterate and save what shard(loader) returns"
        )
    folder = Path(checkpoint_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_name(name, own.rank, own.worker)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(state), encoding="utf-8")
    part.replace(path)


def restore(checkpoint: Any, loader: R, *, name: str = "loader") -> R:
    """Make a loader go on where the run of a checkpoint stood.

    On as many ranks as the run had, each goes on with the very batches that it would
    have yielded. On any other number of ranks, the rest of the epoch is dealt among
    those that there are now: over the epoch every cell comes exactly once, up to what
    `uneven` leaves out or repeats.

    Parameters
    ----------
    checkpoint
        What ``ray.train.get_checkpoint()`` returns, or the path of a folder. None, as
        in a run that begins, leaves the loader as it is.
    loader
        What :func:`shard` returned. A Loader of all ranks can be restored and divided
        afterwards, and a ``scdataset_torch.LoaderDataset``, or a Loader that it then
        wraps, divides among its workers; the rest of the epoch is then dealt anew, even
        among as many ranks.
    name
        The name that was given to :func:`save`.

    Returns
    -------
    loader
        The same object.

    Raises
    ------
    StateError
        If the checkpoint holds no state of this name, or not those of all ranks, or if
        they are of another data set, strategy, seed or size.
    ValueError
        If `name` is not one that :func:`save` takes.
    TypeError
        If `checkpoint` or `loader` is something else.
    """
    _check_name(name)
    if not hasattr(loader, "load_state_dict"):
        raise TypeError(
            f"loader must be a scdataset_core.Loader, got {type(loader).__name__}"
        )
    if checkpoint is None:
        return loader
    loader.load_state_dict(_read_state(_Folder(checkpoint), name, loader))
    return loader


class _Folder:
    """A checkpoint, of which a few small files are read: not those of the model."""

    def __init__(self, checkpoint: Any) -> None:
        if isinstance(checkpoint, ray.train.Checkpoint):
            self._files, self._path = checkpoint.filesystem, checkpoint.path
        elif isinstance(checkpoint, str | os.PathLike):
            self._files = pyarrow.fs.LocalFileSystem()
            self._path = os.path.abspath(checkpoint)  # noqa: PTH100  # symbolic links stay
        else:
            raise TypeError(
                "checkpoint must be a ray.train.Checkpoint, a path or None, got"
                f" {type(checkpoint).__name__}"
            )

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        """Return the names of what lies in the folder."""
        found = self._files.get_file_info(pyarrow.fs.FileSelector(self._path))
        return sorted(info.base_name for info in found)

    def read(self, name: str) -> Any:
        """Return the JSON that a file holds."""
        path = f"{self._path.rstrip('/')}/{name}"
        with self._files.open_input_stream(path) as file:
            try:
                return json.loads(file.read())
            except ValueError as error:
                raise StateError(
                    f"{path}: the file is damaged: {error}; go on from an earlier"
                    " checkpoint"
                ) from error


def _read_state(folder: _Folder, name: str, loader: object) -> Any:
    """Return the state of a Loader's own rank if there is one, else the merged."""
    names = folder.names()
    of_first = _file_name(name, 0, 0)
    if of_first not in names:
        raise StateError(_why_absent(folder, names, name))
    first = folder.read(of_first)
    shard = State.from_dict(first).shard
    if shard is None:
        return first
    # A run of more ranks may have left files in a folder that was written again.
    wanted = _find_files(folder, name, shard, set(names))
    if (
        len(wanted) > 1
        and isinstance(loader, Loader)  # a dataset has workers that are not known here
        and _count_shards(loader) == _count_shards(shard)
    ):
        # A large run reads two files on each rank, in place of those of all.
        state = folder.read(_file_name(name, loader.rank, loader.worker))
        _check_same_step(folder, first, state)
        return state
    with ThreadPoolExecutor(_READERS) as threads:
        return merge_states([first, *threads.map(folder.read, wanted[1:])])


def _find_files(
    folder: _Folder, name: str, shard: Shard, names: Container[str]
) -> list[str]:
    """Return the files of all ranks and workers of a run; raise if some are missing."""

    def wanted() -> Iterator[str]:
        for rank in range(shard.world_size):
            for worker in range(shard.num_workers):
                yield _file_name(name, rank, worker)

    # A damaged state may claim any number of ranks: only some are named.
    missing = islice((file for file in wanted() if file not in names), _MOST_NAMED)
    if named := ", ".join(missing):
        raise StateError(
            f"{folder}: the run had {shard.world_size} ranks, and there is no {named};"
            " every rank calls save() and reports its folder, also where rank 0 alone"
            " writes the model"
        )
    return list(wanted())


def _count_shards(shard: Shard | Loader) -> tuple[int, int]:
    return shard.world_size, shard.num_workers


def _check_same_step(folder: _Folder, first: Any, state: Any) -> None:
    for name in ("epoch", "done"):
        if first[name] != State.from_dict(state).to_dict()[name]:
            raise StateError(
                f"{folder}: the states of rank 0 and of this rank are of different"
                " epochs, or were dealt from different states; save the states of all"
                " ranks after the same step"
            )


def _why_absent(folder: _Folder, names: Iterable[str], name: str) -> str:
    found = [match for file in names if (match := _FILE.fullmatch(file))]
    if any(match[1] == name for match in found):
        return (
            f"{folder}: there is no state of rank 0; every rank calls save() and"
            " reports its folder"
        )
    others = ", ".join(sorted({repr(match[1]) for match in found}))
    there = f"; there is {others}: give name=" if others else ""
    return (
        f'{folder}: the checkpoint holds no state of a loader named "{name}", as'
        f" scdataset_ray.save() writes it{there}"
    )


def _state_of(loader: Any) -> Any:
    if isinstance(loader, Mapping):
        return loader
    state_dict: Callable[[], Any] | None = getattr(loader, "state_dict", None)
    if state_dict is None:
        raise TypeError(
            "loader must be the scdataset_core.Loader that shard(loader) returned, or"
            f" a state, got {type(loader).__name__}"
        )
    state = state_dict()
    if not isinstance(state, Mapping) or "version" not in state:
        raise StateError(
            f"{type(loader).__name__}.state_dict() is no state of a Loader; for a"
            " DataLoader over a LoaderDataset save what"
            " dataset.state_after(n_batches, num_workers) returns"
        )
    return state


def _file_name(name: str, rank: int, worker: int) -> str:
    return f"scdataset-{name}-rank{rank:05d}-worker{worker:03d}.json"


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"name must be letters, digits, - and _, as it names a file; got {name!r}"
        )
