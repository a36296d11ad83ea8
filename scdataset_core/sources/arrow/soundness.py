"""A check of what Arrow has read, before Arrow computes with it."""

from typing import TYPE_CHECKING

from ...errors import CorruptFileError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_sound"]


def check_sound(array: "pa.Array | pa.ChunkedArray | pa.Table", where: str) -> None:
    """Check what a file says of its own values before Arrow uses it.

    Arrow reads offsets of text and lists, and codes of dictionaries, as they stand:
    a flipped bit in one of them ends the process.

    Parameters
    ----------
    array
        Values as a file has them.
    where
        The file and the part of it, for errors.

    Raises
    ------
    CorruptFileError
        If offsets fall or lie outside, text is not UTF-8, or a code has no label.
    """
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowException as error:
        raise CorruptFileError(
            f"{where}: {error}; the file is damaged, restore it from its origin"
        ) from error
