"""List columns of memory-mapped Arrow files, found by their position in the file.

Every record batch has its own buffers, and asking Arrow for them costs more than
reading a row. So this module notes once where the buffers of a batch lie; afterwards it
finds the rows of all batches of a file together, in views of the whole file.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ...storage.io.fork_safe_lock import first_use_lock
from .row_groups import Groups, Rows, name_row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Found", "MappedLists"]

# Numbers for batches that were not looked at yet, and that lie in no one mapped file.
_NEW, _APART = -2, -1
_TASK_ROWS = 256  # rows that one thread brings to their places

# The wanted rows among these, the start and length of each, and the file's elements.
Found = tuple[Rows, Rows, Rows, npt.NDArray[Any]]


class MappedLists:
    """The places of the lists of some columns in mapped files, found in each process.

    Parameters
    ----------
    groups
        The table.
    columns
        The list columns.
    """

    def __init__(self, groups: Groups, columns: tuple[str, ...]) -> None:
        self._groups = groups
        self._columns = columns
        self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {"_groups": self._groups, "_columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        n, k = len(self._groups.starts) - 1, len(self._columns)
        self._file = np.full(n, _NEW, np.int64)
        # Each column of a batch has a first offset, first element, and element count.
        self._at = np.zeros((n, k, 3), np.int64)
        self._views: list[list[tuple[Any, Any]]] = []
        self._known: dict[int, int] = {}

    def find(self, rows: Rows) -> tuple[Iterator[list[Found]], npt.NDArray[np.bool_]]:
        """Return where rows lie, column by column, and which lie in no mapped file."""
        group = np.searchsorted(self._groups.starts, rows, side="right") - 1
        for new in np.unique(group[self._file[group] == _NEW]).tolist():
            self._note(new)
        file = self._file[group]
        return self._lists_by_file(rows, group, file), file == _APART

    def _lists_by_file(
        self, rows: Rows, group: Rows, file: Rows
    ) -> Iterator[list[Found]]:
        for number in np.unique(file[file >= 0]).tolist():
            mine = np.flatnonzero(file == number)
            for of in np.array_split(mine, -(-len(mine) // _TASK_ROWS)):
                local = rows[of] - self._groups.starts[group[of]]
                yield [
                    self._column(rows, of, group[of], local, number, column)
                    for column in range(len(self._columns))
                ]

    def _column(
        self, rows: Rows, of: Rows, group: Rows, local: Rows, number: int, column: int
    ) -> Found:
        bounds, elements = self._views[number][column]
        first, base, size = self._at[group, column].T
        starts = bounds[first + local].astype(np.int64, copy=False)
        stops = bounds[first + local + 1].astype(np.int64, copy=False)
        wrong = (starts < 0) | (stops < starts) | (stops > size)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise CorruptFileError(
                f"{name_row(self._groups, int(rows[of[at]]))} has a list in"
                f" {self._columns[column]} from {starts[at]} to {stops[at]} of"
                f" {size[at]} elements"
            )
        return of, base + starts, stops - starts, elements

    def _note(self, group: int) -> None:
        """Note where the lists of a batch lie."""
        lists = self._groups.read(group, self._columns)
        spots = [_spot(column) for column in lists]
        roots = {spot[0].address for spot in spots if spot is not None}
        if len(roots) != 1 or None in spots:
            self._file[group] = _APART
            return
        for column, spot in enumerate(spots):
            assert spot is not None
            self._at[group, column] = spot[1:]
        root = spots[0][0]  # type: ignore[index]  # none is None
        views = [_views(root, column) for column in lists]
        with first_use_lock():  # another thread may note another file
            number = self._known.setdefault(root.address, len(self._views))
            if number == len(self._views):
                self._views.append(views)
        self._file[group] = number


def _spot(lists: "pa.Array") -> "tuple[pa.Buffer, int, int, int] | None":
    """Return the file's buffer, first offset, first element and number of elements.

    It is None if the lists are not parts of one buffer, hold nulls or are not aligned.
    """
    import pyarrow as pa

    if not isinstance(lists, pa.ListArray | pa.LargeListArray) or lists.null_count:
        return None
    child = lists.values
    offsets, elements = lists.buffers()[1], child.buffers()[1]
    if elements is None or child.null_count or not len(child):
        return None
    root = _root(offsets)
    width = 4 if isinstance(lists, pa.ListArray) else 8
    itemsize = np.dtype(child.type.to_pandas_dtype()).itemsize
    first = offsets.address - root.address
    base = elements.address - root.address
    if _root(elements).address != root.address or first % width or base % itemsize:
        return None
    return (
        root,
        first // width + lists.offset,
        base // itemsize + child.offset,
        len(child),
    )


def _root(buffer: "pa.Buffer") -> "pa.Buffer":
    while (parent := buffer.parent) is not None:
        buffer = parent
    return buffer


def _views(root: "pa.Buffer", lists: "pa.Array") -> tuple[Any, Any]:
    """Return views of a whole file as offsets and as elements of a list column."""
    import pyarrow as pa

    offset_type = np.int32 if isinstance(lists, pa.ListArray) else np.int64
    return _view(root, offset_type), _view(root, lists.values.type.to_pandas_dtype())


def _view(root: "pa.Buffer", dtype: Any) -> npt.NDArray[Any]:
    kind = np.dtype(dtype)
    return np.frombuffer(memoryview(root), kind, root.size // kind.itemsize)
