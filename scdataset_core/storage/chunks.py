"""Tables that say where the chunks of an array lie, in a few bytes a chunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kept_property import kept_property
from .io.byte_sources import ByteStore, Location, SourceIdentity

__all__ = ["ABSENT", "ChunkTable"]

# Offset of a chunk that was never written.
ABSENT = -1


@dataclass(frozen=True, eq=False)
class ChunkTable:
    """Says where each chunk of one array lies, whatever the format around it.

    Parameters
    ----------
    files
        Paths of the files that hold chunks, or names of sources in `store`.
    identities
        Identity of each file when the table was made; None: not to be checked.
    offsets
        First byte of each chunk in its file, int64, shape ``(n_chunks,)``; `ABSENT`
        for chunks that were never written.
    sizes
        Stored bytes of each chunk.
    skipped
        Bits of the filters that were skipped for each chunk; None: none.
    file_of
        For each chunk the number of its file; None: all in the first.
    store
        Store that opens `files`; None: they are local files.
    """

    files: Sequence[str]
    identities: Sequence[SourceIdentity | None]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[Any]
    skipped: npt.NDArray[np.uint8] | None = None
    file_of: npt.NDArray[np.uint32] | None = None
    store: ByteStore | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def n_bytes(self) -> int:
        """Stored bytes of all chunks."""
        return int(self.sizes[self.offsets != ABSENT].sum(dtype=np.uint64))

    @property
    def n_bytes_held(self) -> int:
        """Bytes of memory that the table takes."""
        held = (self.offsets, self.sizes, self.skipped, self.file_of)
        return sum(column.nbytes for column in held if column is not None)

    @kept_property
    def is_plain(self) -> bool:
        """Whether all chunks were written, inside one file, and are of one size."""
        identity = self.identities[0] if self.files else None
        return bool(
            self.file_of is None
            and identity is not None
            and len(self)
            and self.offsets.min() >= 0
            and self.sizes.min() == self.sizes.max()
            and int(self.offsets.max()) + int(self.sizes[0]) <= identity.n_bytes
        )

    @kept_property
    def file_sizes(self) -> npt.NDArray[np.int64]:
        """Size of every file, -1 where it is not known."""
        sizes = [-1 if known is None else known.n_bytes for known in self.identities]
        return np.array(sizes, np.int64)

    def location(self, file: int) -> Location:
        """Return which byte source a file is."""
        return Location(self.files[file], self.identities[file], self.store)
