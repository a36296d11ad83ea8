"""Describes one array: how it is cut into chunks, and how these are encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import CorruptFileError
from .chunks import ChunkTable
from .decoding.pipeline import Pipeline
from .io.fork_safe_lock import first_use_lock

if TYPE_CHECKING:
    from .context import ReadContext

__all__ = [
    "ArrayLayout",
    "ChunkCache",
    "ChunkGrid",
    "FoundChunks",
    "Library",
    "TableMaker",
]


class TableMaker(Protocol):
    """Makes the chunk table of an array; pickles, and works in any process."""

    def __call__(self) -> ChunkTable:
        """Return the table."""
        ...


class Library(Protocol):
    """Reads rows through a format's own library, where we cannot read the bytes."""

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        ...


class FoundChunks(NamedTuple):
    """Some chunks of an array, as a cache keeps them.

    Parameters
    ----------
    kinds
        The kind of each chunk, 0 for those that are not kept, as of a file that is not
        what it was.
    layouts
        For each kind the uncompressed array in which its chunks lie. Element i of it is
        element i of the array, perhaps in a narrower type; only those of chunks of that
        kind mean something.
    state
        Another number once anything that was checked before may have changed.
    """

    kinds: npt.NDArray[np.uint8]
    layouts: "Mapping[int, ArrayLayout]"
    state: int


class ChunkCache(Protocol):
    """Keeps decoded chunks of an array, for other reads of it; pickles.

    Its methods are called from several threads at a time.
    """

    @property
    def is_full(self) -> bool:
        """Whether it is no use to offer chunks for now."""
        ...

    def find_kept(
        self,
        array: "ArrayLayout",
        chunks: npt.NDArray[np.int64],
        context: "ReadContext",
    ) -> FoundChunks:
        """Return in which kind each of some chunks is kept, and where they lie.

        It is asked for arrays whose chunks hold whole rows, whose kept elements can be
        read as those of an uncompressed array.

        Parameters
        ----------
        array, chunks
            The array, and numbers of chunks in it; they may repeat.
        context
            Threads and byte sources to read with.
        """
        ...

    def find_known(
        self,
        array: "ArrayLayout",
        chunks: npt.NDArray[np.int64],
        context: "ReadContext",
    ) -> FoundChunks | None:
        """Return what :meth:`find_kept` would without a check; None: nothing is known.

        It costs little, and says of chunks that are kept, but were not used in this
        process, that they are not.
        """
        ...

    def confirm(
        self,
        array: "ArrayLayout",
        chunks: npt.NDArray[np.int64],
        kind: int,
        found: FoundChunks,
        context: "ReadContext",
    ) -> bool:
        """Return whether chunks are still as :meth:`find_kept` found them.

        It is asked after they were read, with chunks of one kind of those that it was
        asked for, and what it returned.
        """
        ...

    def fail(self, error: Exception) -> None:
        """Take note that an array of :meth:`find_kept` could not be read."""
        ...

    def find(
        self,
        array: "ArrayLayout",
        chunk: int,
        unwanted: int,
        want: int,
        context: "ReadContext",
    ) -> memoryview | None:
        """Return a decoded chunk, or None where it is not kept.

        Parameters
        ----------
        array, chunk
            The array, and number of the chunk in it.
        unwanted, want
            Bytes ``[unwanted, want)`` must be right, in native byte order; what is
            before them may be anything, and what is behind them missing.
        context
            Byte sources to read with.
        """
        ...

    def keep(
        self, array: "ArrayLayout", chunks: Sequence[int], plain: memoryview
    ) -> None:
        """Keep a copy of decoded chunks, or leave them.

        Parameters
        ----------
        array, chunks
            The array, and numbers of chunks in it, each once.
        plain
            Their bytes, one chunk after the other, in native byte order; they are
            overwritten after the call.
        """
        ...

    def keep_piece(
        self, array: "ArrayLayout", chunk: int, start: int, piece: memoryview
    ) -> None:
        """Keep a copy of a piece of a very large chunk, or leave it.

        Parameters
        ----------
        array, chunk
            As for :meth:`find`.
        start
            First byte of the piece in the decoded chunk. Pieces come in their order;
            the last one ends at ``array.needed_grid.n_bytes`` unless an error comes
            first.
        piece
            The bytes, in native byte order; they are overwritten after the call.
        """
        ...


@dataclass(frozen=True, eq=False)
class ChunkGrid:
    """An array cut into chunks, each encoded on its own.

    Parameters
    ----------
    chunk_shape
        Shape of a chunk; chunks at the edges are stored whole.
    stored_dtype
        Type of the stored elements, with their byte order.
    pipeline
        How a chunk is encoded.
    fill
        Value of elements that were never written.
    make_table
        Says where the chunks lie.
    whole
        Whether a chunk that was never written is an error; else it is all `fill`.
    """

    chunk_shape: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    pipeline: Pipeline
    fill: Any  # Any: a scalar of the array's type
    make_table: TableMaker
    whole: bool = False

    @property
    def n_bytes(self) -> int:
        """Bytes of one decoded chunk."""
        return prod(self.chunk_shape) * self.stored_dtype.itemsize


class ArrayLayout:
    """One array of a file: its shape and type, and where its bytes come from.

    It pickles. Each process makes the chunk table when it first needs it.

    Parameters
    ----------
    file
        Path of the file, for messages.
    name
        Name of the array in its file.
    shape
        Its shape.
    dtype
        Type of the elements that a read gives, in native byte order.
    grid
        Its chunks; None where only `library` can read it.
    library
        Reads rows through the format's library; None where `grid` is known.
    contiguous
        Whether the array is stored in one piece, its grid a single chunk.

    Attributes
    ----------
    chunk_cache : ChunkCache or None
        Keeps chunks of this array that were decoded; None: nothing does.
    references : ArrayLayout or None
        Of text that HDF5 reads: the length and the place of each text, as bytes of the
        type ``REFERENCE``, which are looked at first; None: they are not known.
    """

    def __init__(
        self,
        file: str,
        name: str,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        grid: ChunkGrid | None,
        library: Library | None = None,
        contiguous: bool = False,
    ) -> None:
        self.file = file
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.grid = grid
        self.library = library
        self.contiguous = contiguous
        self.chunk_cache: ChunkCache | None = None
        self.references: ArrayLayout | None = None
        self._table: ChunkTable | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_table": None}

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        how = "through its library"
        if self.grid is not None:
            how = f"in chunks of {self.grid.chunk_shape}, {self.grid.pipeline}"
        return f"{type(self).__name__}({self.label}, {self.shape} {self.dtype}, {how})"

    @property
    def label(self) -> str:
        """File and name, for messages."""
        return f"{self.file}:{self.name}"

    @property
    def is_plain(self) -> bool:
        """Whether its bytes are stored as they are, and no library reads them."""
        return self.grid is not None and not self.grid.pipeline

    @property
    def needed_grid(self) -> ChunkGrid:
        """The array's chunks, for callers who know that there are some."""
        assert self.grid is not None
        return self.grid

    @property
    def stored_natively(self) -> bool:
        """Whether elements are stored in this machine's byte order."""
        return self.needed_grid.stored_dtype.isnative

    @property
    def chunk_rows(self) -> int | None:
        """Rows in a chunk; None where the array has no chunks, or none are known."""
        if self.grid is None or self.contiguous:
            return None
        return self.grid.chunk_shape[0]

    @property
    def table(self) -> ChunkTable:
        """Where the chunks lie."""
        if self._table is None:
            with first_use_lock():
                if self._table is None:
                    self._table = self.needed_grid.make_table()
        return self._table

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the array takes in its file, as far as is known."""
        if self.grid is None:
            return prod(self.shape) * self.dtype.itemsize
        return self.table.n_bytes

    def corrupt(self, chunk: int, wrong: str) -> CorruptFileError:
        """Return the error for a chunk that cannot be right."""
        where = (
            "its data"
            if self.contiguous
            else f"chunk {chunk}{self._describe_rows(chunk)}"
        )
        return CorruptFileError(
            f"{self.file}: data set {self.name}, {where}: {wrong};"
            " the file is damaged or was cut short, restore it from its origin"
        )

    def _describe_rows(self, chunk: int) -> str:
        """Return the text that says which rows a chunk has."""
        grid = self.needed_grid
        per_row = [
            -(-size // step)
            for size, step in zip(self.shape[1:], grid.chunk_shape[1:], strict=True)
        ]
        rows = grid.chunk_shape[0]
        first = chunk // max(prod(per_row), 1) * rows
        return f" (elements {first} to {min(first + rows, self.shape[0])})"


Layouts = Sequence[ArrayLayout]
