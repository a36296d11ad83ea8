"""Compares what an array claims to be with the size of the file that holds it.

A few bytes of metadata can claim any number of elements. Memory is taken by such
numbers (lists of names, tables of chunks, buffers), so they are looked at first.
"""

from ...errors import CorruptFileError, FileFormatError

__all__ = ["check_declared"]

# Deflate makes 1,032 bytes of one at most (zlib's technical notes), and no other codec
# makes more of vectors of real cells. Small files have room for fixed patterns.
_MOST_RATIO, _FREE_BYTES = 1032, 16 << 20
# A table takes up to 17 bytes a chunk. A chunk that was written takes about as many in
# the file; of those that were not, a file has no more than this.
_MOST_ABSENT, _LEAST_CHUNK_BYTES = 1 << 22, 16
_MOST_CHUNK_BYTES = 1 << 31


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
        Size of the file.
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
    if whole and array_bytes > _MOST_RATIO * file_bytes + _FREE_BYTES:
        raise CorruptFileError(
            f"{label} claims {array_bytes:,} bytes of elements, and the file has"
            f" {file_bytes:,}, which cannot hold them; it is damaged or was cut short,"
            " restore it from its origin"
        )
    if n_chunks > _MOST_ABSENT + file_bytes // _LEAST_CHUNK_BYTES:
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
