"""Compares what an array claims to be with the size of the file that holds it.

A few bytes of metadata can claim any number of elements. Memory is taken by such
numbers (lists of names, tables of chunks, buffers), so they are looked at first.
"""

from ...errors import CorruptFileError, FileFormatError

__all__ = [
    "FREE_BYTES",
    "FREE_VALUES",
    "MOST_ABSENT",
    "ImpossibleTextError",
    "check_declared",
    "check_distinct",
    "check_present",
    "check_text",
]

# Deflate makes 1,032 bytes of one at most (zlib's technical notes), and no other codec
# makes more of vectors of real cells. Small files have room for fixed patterns.
_MOST_RATIO, FREE_BYTES = 1032, 16 << 20
# A table takes up to 17 bytes a chunk. A chunk that was written takes about as many in
# the file; of those that were not, a file has no more than this.
MOST_ABSENT, _LEAST_CHUNK_BYTES = 1 << 22, 16
_MOST_CHUNK_BYTES = 1 << 31
# Values that differ from each other, such as names of genes, compress to a quarter of
# a byte at best (counting numbers, with a shuffle, to less, but beside other data).
_MOST_A_BYTE, FREE_VALUES = 4, 1 << 20


class ImpossibleTextError(FileFormatError):
    """A file says of a text that it is longer than the file."""


def check_declared(
    label: str,
    *,
    file_bytes: int,
    array_bytes: int,
    n_chunks: int,
    chunk_bytes: int,
    whole: bool,
) -> None:
    """Raise if a file cannot hold what it says of an array.

    Parameters
    ----------
    label
        File and name of the array, for errors.
    file_bytes
        Size of the file, or of all files of the array.
    array_bytes
        Bytes of all elements, decoded.
    n_chunks, chunk_bytes
        Number of chunks in its shape, and bytes of one, decoded; 1 and 0 for data in
        one piece.
    whole
        Whether all of it must have been written.

    Raises
    ------
    CorruptFileError
        If the array, or its chunks, cannot lie in so few bytes.
    FileFormatError
        If its chunks are larger than what is decoded at a time.
    """
    if whole and array_bytes > _MOST_RATIO * file_bytes + FREE_BYTES:
        raise CorruptFileError(
            f"{label} claims {array_bytes:,} bytes of elements, and the file has"
            f" {file_bytes:,}, which cannot hold them; it is damaged or was cut short,"
            " restore it from its origin"
        )
    if n_chunks > MOST_ABSENT + file_bytes // _LEAST_CHUNK_BYTES:
        raise CorruptFileError(
            f"{label} claims {n_chunks:,} chunks, and the file has {file_bytes:,}"
            " bytes, which cannot hold them; it is damaged, or was made with chunks of"
            " single elements: write it again with larger ones"
        )
    if chunk_bytes > _MOST_CHUNK_BYTES:
        raise FileFormatError(
            f"{label} is stored in chunks of {chunk_bytes / 2**30:.1f} GiB, each"
            f" decoded whole; at most {_MOST_CHUNK_BYTES >> 30} GiB are: write it again"
            " with smaller ones"
        )


def check_distinct(label: str, *, n: int, file_bytes: int) -> None:
    """Raise if a file has no room for `n` values that differ from each other.

    Each of them is held as a string, which takes some 60 bytes.

    Raises
    ------
    CorruptFileError
        If so many cannot lie in so few bytes.
    """
    if n > _MOST_A_BYTE * file_bytes + FREE_VALUES:
        raise CorruptFileError(
            f"{label} claims {n:,} values that differ from each other, and the file has"
            f" {file_bytes:,} bytes, which cannot hold them; it is damaged, restore it"
            " from its origin"
        )


def check_present(label: str, *, n_chunks: int, n_there: int) -> None:
    """Raise if far more chunks are claimed than are there, each in a place of its own.

    Raises
    ------
    CorruptFileError
        If the rest cannot all have been left out by who wrote the others.
    """
    if n_chunks > n_there + MOST_ABSENT:
        raise CorruptFileError(
            f"{label} claims {n_chunks:,} chunks, and {n_there:,} of them are there; it"
            " is damaged or was not copied whole: copy it again, or write it again with"
            " larger chunks"
        )


def check_text(label: str, *, longest: int, file_bytes: int) -> None:
    """Raise if a text claims more bytes than its file has, where texts lie as they are.

    HDF5 takes memory for so many, twice, before it looks at the text: up to 8 GiB.

    Raises
    ------
    ImpossibleTextError
        If it does.
    """
    if longest > file_bytes:
        raise ImpossibleTextError(
            f"{label} holds a text that claims {longest:,} bytes, and the file has"
            f" {file_bytes:,}; it is damaged, restore it from its origin"
        )
