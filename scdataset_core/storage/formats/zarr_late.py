"""Reads arrays of local zarr stores with zarr-python, opened when they are read."""

from typing import Any

import numpy.typing as npt

from ...errors import FileFormatError, ScdatasetError
from ...optional import import_optional
from ..io.byte_sources import SourceIdentity
from ..io.fork_safe_lock import first_use_lock
from .zarr import ZarrLibrary

__all__ = ["LateZarrLibrary"]


class LateZarrLibrary:
    """Reads rows of an array that is known from a record, and opens it for that.

    Parameters
    ----------
    store, name
        The folder of the store, and the array's path in it.
    why
        The reason why this library does not read it itself; empty for text.
    metadata
        The file that describes the array, with its identity.
    """

    def __init__(
        self, store: str, name: str, why: str, metadata: tuple[str, SourceIdentity]
    ) -> None:
        self.store, self.name, self.why, self.metadata = store, name, why, metadata
        self._opened: ZarrLibrary | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        if self._opened is None:
            with first_use_lock():
                if self._opened is None:
                    self._opened = self._open()
        return self._opened(start, stop)

    def _open(self) -> ZarrLibrary:
        import_optional("zarr", extra="zarr", needed_by="zarr stores")
        import zarr

        from .zarr_folders import PlainFolder

        try:
            array = zarr.open_array(PlainFolder(self.store), path=self.name, mode="r")
        except ScdatasetError:
            raise
        except Exception as error:  # zarr raises what its parsers do
            raise FileFormatError(
                f"{self.store}: zarr cannot open {self.name}: {type(error).__name__}:"
                f" {error}; if the store changed, bring its index up to date"
            ) from error
        return ZarrLibrary(array, self.why, self.metadata)
