"""The format of BioNeMo-SCDL: a folder of memory-mapped arrays, or of such folders."""

from collections.abc import Sequence
from pathlib import Path

from ..base import Source
from ..format_declaration import Format
from ..options import OpenOptions
from .signatures import data_sets_of

__all__ = ["SCDL_FOLDERS"]


def _is_scdl(path: str) -> bool:
    """Return whether a folder is a data set of BioNeMo-SCDL, or a collection."""
    return bool(data_sets_of(Path(path)))


def _open_scdl(paths: Sequence[str], options: OpenOptions) -> Source:
    from .folders import open_scdl

    return open_scdl(paths, options)


SCDL_FOLDERS = Format("a BioNeMo-SCDL folder", _is_scdl, _open_scdl)
