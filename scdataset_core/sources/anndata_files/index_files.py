"""The file that an index is saved in: text in JSON, integers, and a checksum.

Nothing in it is run: it is no pickle. Every byte is covered by the checksum.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError
from ...storage.io.open_files import check_plain

__all__ = ["MAGIC", "IndexContents", "read_index", "write_index"]

MAGIC = b"scdataset index\n"
_VERSION = 2
_CHECKSUM_BYTES = 32
_HEAD_BYTES = len(MAGIC) + 3 * 8


class IndexContents(NamedTuple):
    """What an index holds, in columns.

    Parameters
    ----------
    files
        The path of each file.
    identities
        Its size, time and time of status, int64, shape ``(n_files, 3)``.
    skeleton_of
        The number of its skeleton.
    n_integers
        How many integers it has.
    integers
        Those of all files, one after the other.
    skeleton_texts
        The skeletons, in JSON.
    lists
        The labels and names that the integers refer to by number.
    versions
        For each file None; of an object in a store its ETag and the time of its last
        change, of a zarr store a digest. Empty where all are local files.
    """

    files: list[str]
    identities: npt.NDArray[np.int64]
    skeleton_of: npt.NDArray[np.int64]
    n_integers: npt.NDArray[np.int64]
    integers: npt.NDArray[np.int64]
    skeleton_texts: list[str]
    lists: list[list[Any]]
    versions: list[tuple[str | None, str | None] | None]

    @classmethod
    def empty(cls) -> "IndexContents":
        """Return those of no files."""
        none = np.empty(0, np.int64)
        return cls([], none.reshape(0, 3), none, none, none, [], [], [])

    @property
    def skeletons(self) -> list[Any]:
        """The skeletons."""
        return [json.loads(text) for text in self.skeleton_texts]


def write_index(path: Path, contents: IndexContents) -> None:
    """Write an index, whole or not at all."""
    text = json.dumps(
        {
            "files": contents.files,
            "skeletons": contents.skeleton_texts,
            "lists": contents.lists,
            "versions": contents.versions,
        }
    ).encode("utf-8", "surrogateescape")
    columns = [
        contents.identities.reshape(-1),
        contents.skeleton_of,
        contents.n_integers,
        contents.integers,
    ]
    numbers = np.concatenate(columns).astype("<i8").tobytes()
    sizes = np.array([_VERSION, len(text), len(numbers)], "<u8").tobytes()
    digest = hashlib.sha256()
    folder = path.absolute().parent
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            for part in (MAGIC, sizes, text, numbers):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.close()
            os.replace(file.name, path)  # noqa: PTH105  # of two kinds of paths
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read_index(path: str) -> tuple[IndexContents, str]:
    """Return what :func:`write_index` wrote, after checking it, and its checksum.

    Raises
    ------
    FileFormatError
        If it is no index, or one of another version.
    CorruptFileError
        If it is damaged.
    """
    check_plain(path)
    data = Path(path).read_bytes()
    if not data.startswith(MAGIC):
        raise FileFormatError(f"{path} is no index that scdataset_core.Index saved")
    whole = hashlib.sha256(data[:-_CHECKSUM_BYTES]).digest()
    if len(data) < _HEAD_BYTES + _CHECKSUM_BYTES or whole != data[-_CHECKSUM_BYTES:]:
        raise _damaged(path)
    version, n_text, n_numbers = np.frombuffer(data, "<u8", 3, len(MAGIC)).tolist()
    if version != _VERSION:
        raise FileFormatError(
            f"{path} is an index of another version of scdataset_core ({version}, and"
            f" this one reads {_VERSION}): build it again"
        )
    if _HEAD_BYTES + n_text + n_numbers + _CHECKSUM_BYTES != len(data):
        raise _damaged(path)
    try:
        return _parse(data[_HEAD_BYTES:-_CHECKSUM_BYTES], n_text), whole.hex()
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _damaged(path) from error


def _parse(data: bytes, n_text: int) -> IndexContents:
    """Return what an index holds, after checking that its columns fit together."""
    text = json.loads(data[:n_text].decode("utf-8", "surrogateescape"))
    files, skeletons, lists = text["files"], text["skeletons"], text["lists"]
    versions = [one and (one[0], one[1]) for one in text["versions"]]
    n = len(files)
    numbers = np.frombuffer(data[n_text:], "<i8").astype(np.int64)
    found = IndexContents(
        [str(file) for file in files],
        numbers[: 3 * n].reshape(n, 3),
        numbers[3 * n : 4 * n],
        numbers[4 * n : 5 * n],
        numbers[5 * n :],
        [str(skeleton) for skeleton in skeletons],
        lists,
        versions,
    )
    if not all(isinstance(skeleton, dict) for skeleton in found.skeletons):
        raise ValueError("a skeleton is no object")
    of = found.skeleton_of
    if n and not 0 <= int(of.min()) <= int(of.max()) < len(skeletons):
        raise ValueError("a file has a skeleton that is not there")
    if len(versions) not in (0, n):
        raise ValueError("versions are missing")
    if (found.n_integers < 0).any() or found.n_integers.sum() != len(found.integers):
        raise ValueError("integers are missing")
    return found


def _damaged(path: str) -> CorruptFileError:
    return CorruptFileError(
        f"{path}: the index is damaged or was cut short; build it again:"
        " scdataset_core.Index.build(files).save(path)"
    )
