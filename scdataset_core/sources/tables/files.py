"""Parquet and Arrow files as groups of rows; a group is decoded when it is read."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CorruptFileError, FileFormatError, ScdatasetError
from ...storage.formats.declared_sizes import check_declared
from ...storage.io.identities import Identity, check_unchanged
from ...storage.io.open_files import check_plain
from ..arrow.soundness import check_sound
from .parquet_footers import Patterns, check_footer
from .row_groups import Rows, cut_by_group

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowFiles", "FileGroups", "ParquetFiles", "look_at_footer"]

_LEAST_ITEM = 4  # bytes of an element in memory; less for few types alone
_MOST_ROWS = 1 << 26  # of a row group, as Arrow writes them


class FileGroups:
    """Files with the same columns as one table, in groups of rows.

    Parameters
    ----------
    files
        The files, in the order of their rows.
    """

    decoded = True
    keeps_labels = False

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        for file in files:
            check_plain(file)
        self._identities = [Identity.of(file) for file in files]
        self._sound: set[tuple[int, str]] = set()  # what this process has checked
        sizes = [self._ask(file, self._checked_sizes) for file in files]
        self.starts: Rows = np.cumsum(
            [0, *(n for own in sizes for n in own)], dtype=np.int64
        )
        self.file_starts: Rows = np.cumsum([0, *map(sum, sizes)], dtype=np.int64)
        self._first_groups = np.cumsum([0, *map(len, sizes)], dtype=np.int64)
        for file in files[1:]:
            other = self._ask(file, self._schema)
            if not other.equals(self.schema):
                raise FileFormatError(
                    f"{files[0]} and {file} differ in their columns:"
                    f" {_describe_differences(self.schema, other)}; files read as one"
                    " must agree"
                )

    def _checked_sizes(self, file: str) -> list[int]:
        sizes = self._sizes(file)
        if min(sizes, default=0) < 0 or sum(sizes) >= 2**63:
            raise FileFormatError(
                f"{file}: its footer tells of groups of {min(sizes)} to {max(sizes)}"
                " rows; the file is damaged, restore it from its origin"
            )
        return sizes

    def _sizes(self, file: str) -> list[int]:
        raise NotImplementedError

    def _schema(self, file: str) -> "pa.Schema":
        raise NotImplementedError

    def _read(self, file: str, group: int, columns: Sequence[str]) -> "pa.Table":
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k != "schema"}
        return {**state, "_sound": set()}

    @cached_property
    def schema(self) -> "pa.Schema":
        """The columns of the files and their types."""
        return self._ask(self.files[0], self._schema)

    def file_of(self, group: int) -> tuple[int, int]:
        """Return the file of a group, and the group's number in it."""
        file = int(np.searchsorted(self._first_groups, group, side="right")) - 1
        return file, group - int(self._first_groups[file])

    def check(self, rows: Rows) -> None:
        """Raise if a file that holds some of non-decreasing rows has changed."""
        for number, _, _ in cut_by_group(rows, self.file_starts):
            check_unchanged(self.files[number], self._identities[number])

    def read(self, group: int, columns: Sequence[str]) -> "list[pa.Array]":
        """Return columns of one group, each as one array."""
        import pyarrow as pa

        number, inside = self.file_of(group)
        file = self.files[number]
        check_unchanged(file, self._identities[number])
        try:
            table = self._read(file, inside, columns)
        except ScdatasetError:
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise CorruptFileError(
                f"{file}: row group {inside}, columns {', '.join(columns)}: {error};"
                " the file is damaged or was cut short, restore it from its origin"
            ) from error
        rows = int(self.starts[group + 1] - self.starts[group])
        if len(table) != rows:
            raise CorruptFileError(
                f"{file}: row group {inside} holds {len(table)} rows, and {rows} were"
                " announced"
            )
        found = []
        for name in columns:
            column = table.column(name)
            if (group, name) not in self._sound:
                check_sound(column, f"{file}: row group {inside}, column {name}")
                self._sound.add((group, name))
            if isinstance(column, pa.ChunkedArray):
                column = column.combine_chunks()
                if isinstance(column, pa.ChunkedArray):
                    column = column.chunk(0)
            found.append(column)
        return found

    def n_elements(self, column: str) -> int:
        """Return how many elements the lists of a column have, or nearly."""
        from .list_columns import flat_lists

        total = 0
        for group in range(len(self.starts) - 1):
            bounds, _ = flat_lists(self.read(group, [column])[0])
            total += int(bounds[-1] - bounds[0])
        return total

    def n_missing(self, column: str, first: int, last: int) -> int | None:
        """Return how many values of groups first to last are null, if that is known."""
        return None

    def _ask(self, file: str, ask: "Callable[[str], Any]") -> Any:
        """Return what `ask` reads of a file's description; errors name the file."""
        import pyarrow as pa

        try:
            return ask(file)
        except ScdatasetError:
            raise
        # The names of columns are decoded when they are first asked for.
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise FileFormatError(
                f"{file} cannot be read: {error}; if it was cut short, copy or download"
                " it again"
            ) from error


def _describe_differences(one: "pa.Schema", other: "pa.Schema") -> str:
    for name in dict.fromkeys([*one.names, *other.names]):
        kinds = [
            str(schema.field(name).type) if name in schema.names else "not there"
            for schema in (one, other)
        ]
        if kinds[0] != kinds[1]:
            return f'"{name}" is {kinds[0]} in the first and {kinds[1]} in the second'
    return "the same columns in another order"


def _check_names(schema: "pa.Schema") -> "pa.Schema":
    """Return a schema; raise `UnicodeDecodeError` if a column's name is not UTF-8."""
    list(schema.names)  # decodes them
    return schema


class ParquetFiles(FileGroups):
    """Parquet files in their row groups."""

    def __init__(self, files: Sequence[str]) -> None:
        self._checked: set[str] = set()  # those whose footers were looked at
        self._sound_footers: Patterns = {}
        super().__init__(files)

    def _sizes(self, file: str) -> list[int]:
        held = self._metadata(file)
        return [held.row_group(i).num_rows for i in range(held.num_row_groups)]

    def _schema(self, file: str) -> "pa.Schema":
        import pyarrow.parquet as pq

        with pq.ParquetFile(file, metadata=self._metadata(file)) as opened:
            return _check_names(opened.schema_arrow.remove_metadata())

    def _metadata(self, file: str) -> Any:
        import pyarrow.parquet as pq

        kept = self.__dict__.setdefault("_footers", {})
        if file not in kept:
            if file not in self._checked:
                check_footer(file, self._sound_footers)
                self._checked.add(file)
            kept[file] = pq.read_metadata(file)
        return kept[file]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_footers"}

    def _read(self, file: str, group: int, columns: Sequence[str]) -> "pa.Table":
        import pyarrow.parquet as pq

        held = self._metadata(file).row_group(group)
        for name in columns:
            n = held.column(self._leaf_of(name, file)).num_values
            if n <= min(held.num_rows, _MOST_ROWS):
                continue  # all may be the same, which takes a few bytes
            check_declared(
                f"{file}: row group {group}, column {name}",
                file_bytes=Path(file).stat().st_size,
                array_bytes=n * _LEAST_ITEM,
                n_chunks=1,
                chunk_bytes=0,
                whole=True,
            )
        # Each read has its own handle: threads must not share a reader.
        with pq.ParquetFile(
            file, metadata=self._metadata(file), page_checksum_verification=True
        ) as opened:
            return opened.read_row_group(group, list(columns), use_threads=False)

    def _chunks(
        self, column: str, first: int = 0, last: int | None = None
    ) -> list[Any]:
        """Return the footers' entries on a column, of groups first to last."""
        last = len(self.starts) - 1 if last is None else last
        edges = self._first_groups
        start = int(np.searchsorted(edges, first, side="right")) - 1
        stop = int(np.searchsorted(edges, last, side="left"))
        found: list[Any] = []
        for number in range(start, stop):
            low, high = np.clip((first, last), *edges[number : number + 2])
            groups = range(int(low - edges[number]), int(high - edges[number]))
            ask = partial(self._chunks_of, column=column, groups=groups)
            found.extend(self._ask(self.files[number], ask))
        return found

    def _chunks_of(self, file: str, *, column: str, groups: range) -> list[Any]:
        held, leaf = self._metadata(file), self._leaf_of(column, file)
        return [held.row_group(group).column(leaf) for group in groups]

    def _leaf_of(self, column: str, file: str) -> int:
        """Return the number of the first leaf of a column among those of a file.

        Paths of leaves do not tell: a column "a.b" has the path of b in a column a.
        """
        n_leaves = self._metadata(file).num_columns
        sizes = self._leaf_counts
        if sum(sizes) != n_leaves:
            raise FileFormatError(
                f"{file}: its columns have {n_leaves} parts and its schema"
                f" {sum(sizes)}; the file is damaged, restore it from its origin"
            )
        return sum(sizes[: self.schema.get_field_index(column)])

    @cached_property
    def _leaf_counts(self) -> list[int]:
        return [_n_leaves(field.type) for field in self.schema]

    def n_elements(self, column: str) -> int:
        """Return how many elements all lists have; an empty list counts as 1."""
        return sum(chunk.num_values for chunk in self._chunks(column))

    def n_missing(self, column: str, first: int, last: int) -> int | None:
        """Return how many values of groups first to last are null, if that is known."""
        told = [chunk.statistics for chunk in self._chunks(column, first, last)]
        if any(known is None or not known.has_null_count for known in told):
            return None
        return int(sum(known.null_count for known in told))

    def bounds(self, column: str) -> tuple[Rows, Rows]:
        """Return the least and the largest value of a column in each group.

        They come from the footer where it has them; if not, the column is read.
        """
        lows: list[int] = []
        highs: list[int] = []
        chunks = self._chunks(column)
        for group, (start, stop) in enumerate(pairwise(self.starts.tolist())):
            told = chunks[group].statistics
            if told is not None and told.has_min_max:
                low, high = told.min, told.max
            elif stop > start:
                low, high = self._read_bounds(group, column)
            else:
                low, high = (highs[-1], highs[-1]) if highs else (0, -1)
            lows.append(int(low))
            highs.append(int(high))
        try:
            return np.array(lows, np.int64), np.array(highs, np.int64)
        except OverflowError as error:
            raise FileFormatError(
                f"{self.files[0]}: {column} goes up to {max(highs)}, expected at most"
                f" {2**63 - 1}"
            ) from error

    def _read_bounds(self, group: int, column: str) -> tuple[int, int]:
        """Return the least and the largest value of a column in a group with rows."""
        values = self.read(group, [column])[0]
        if values.null_count:
            number, inside = self.file_of(group)
            raise CorruptFileError(
                f"{self.files[number]}: row group {inside} of {column} holds"
                f" {values.null_count} nulls, expected none"
            )
        numbers = values.to_numpy(zero_copy_only=False)
        return numbers.min(), numbers.max()


def look_at_footer(file: str) -> None:
    """Look at all that the footer of a Parquet file says of its columns.

    Arrow does not catch an error of its own there, which then ends the process. Other
    errors are raised where the file is opened.
    """
    import pyarrow.parquet as pq

    with suppress(Exception):
        held = pq.read_metadata(file)
        for group in range(held.num_row_groups):
            row_group = held.row_group(group)
            for leaf in range(row_group.num_columns):
                with suppress(Exception):
                    row_group.column(leaf).to_dict()


def _n_leaves(kind: "pa.DataType") -> int:
    """Return how many columns of numbers or text Parquet keeps of a type."""
    import pyarrow as pa
    import pyarrow.types as pt

    if isinstance(kind, pa.BaseExtensionType):
        return _n_leaves(kind.storage_type)
    if pt.is_map(kind):
        return _n_leaves(kind.key_type) + _n_leaves(kind.item_type)
    if pt.is_struct(kind):
        return sum(_n_leaves(kind.field(i).type) for i in range(kind.num_fields))
    inner = getattr(kind, "value_type", None)  # of lists, and of dictionaries
    return 1 if inner is None else _n_leaves(inner)


class ArrowFiles(FileGroups):
    """Arrow IPC files, Feather among them, in their record batches."""

    keeps_labels = True

    def _sizes(self, file: str) -> list[int]:
        import pyarrow as pa

        with pa.memory_map(file) as mapped:
            held = pa.ipc.open_file(mapped)
            return [held.get_batch(i).num_rows for i in range(held.num_record_batches)]

    def _schema(self, file: str) -> "pa.Schema":
        import pyarrow as pa

        with pa.memory_map(file) as mapped:
            return _check_names(pa.ipc.open_file(mapped).schema.remove_metadata())

    def _read(self, file: str, group: int, columns: Sequence[str]) -> "pa.RecordBatch":
        import pyarrow as pa

        fields = [self.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        with pa.memory_map(file) as mapped:
            return pa.ipc.open_file(mapped, options=options).get_batch(group)
