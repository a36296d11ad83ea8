"""The formats of tables: saved Hugging Face data sets, open ones, Parquet and Arrow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import Source
from ..format_declaration import Format, comes_from
from ..options import OpenOptions

__all__ = [
    "ARROW_FILES",
    "HUGGINGFACE_DATASETS",
    "HUGGINGFACE_FOLDERS",
    "PARQUET_FILES",
]


def _is_saved(path: str) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    one = ("state.json", "dataset_info.json")
    return Path(path, "dataset_dict.json").is_file() or all(
        Path(path, name).is_file() for name in one
    )


def _is_dataset(obj: object) -> bool:
    """Return whether an object is a `datasets.Dataset`.

    Raises
    ------
    TypeError
        If it is a dict of them, or one that only streams.
    """
    if not comes_from(obj, "datasets"):
        return False
    from datasets import Dataset, DatasetDict, IterableDataset

    if isinstance(obj, DatasetDict):
        raise TypeError(
            f"a DatasetDict has the splits {', '.join(obj)}; open one of them:"
            f' open(data["{next(iter(obj), "train")}"], ...)'
        )
    if isinstance(obj, IterableDataset):
        raise TypeError(
            "an IterableDataset has no rows by number; load the data set without"
            " streaming=True"
        )
    return isinstance(obj, Dataset)


def _is_parquet(path: str) -> bool:
    """Return whether a file is Parquet, by its content; or a folder with such files."""
    if Path(path).is_dir():
        return any(Path(path).glob("*.parquet"))
    return _begins(path, b"PAR1")


def _is_arrow(path: str) -> bool:
    """Return whether a file is an Arrow IPC file, Feather among them."""
    return Path(path).is_file() and _begins(path, b"ARROW1")


def _begins(path: str, magic: bytes) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(magic)) == magic


def _open_folders(paths: Sequence[str], options: OpenOptions) -> Source:
    from .huggingface import open_folders

    return open_folders(paths, options)


def _open_dataset(dataset: Any, options: OpenOptions) -> Source:  # Any: of datasets
    from .huggingface import open_dataset

    return open_dataset(dataset, options)


def _open_parquet(paths: Sequence[str], options: OpenOptions) -> Source:
    from .parquet import open_parquet

    return open_parquet(paths, options)


def _open_arrow(paths: Sequence[str], options: OpenOptions) -> Source:
    from .parquet import open_arrow

    return open_arrow(paths, options)


# A table has genes by number and columns of any name.
_OPTIONS = frozenset({"vocabulary", "columns"})
HUGGINGFACE_FOLDERS = Format(
    "a saved Hugging Face data set", _is_saved, _open_folders, own_options=_OPTIONS
)
HUGGINGFACE_DATASETS = Format(
    "a Hugging Face data set", _is_dataset, _open_dataset, own_options=_OPTIONS
)
PARQUET_FILES = Format(
    "a Parquet file",
    _is_parquet,
    _open_parquet,
    endings=("parquet",),
    own_options=_OPTIONS,
)
ARROW_FILES = Format(
    "an Arrow file",
    _is_arrow,
    _open_arrow,
    endings=("arrow", "feather"),
    own_options=_OPTIONS,
)
