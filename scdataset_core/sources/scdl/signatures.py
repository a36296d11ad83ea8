"""How the folders of BioNeMo-SCDL are told from others: by the names in them."""

from pathlib import Path

__all__ = ["data_sets_of"]

_SIGNS = ("header.sch", "row_ptr.npy", "col_ptr.npy")


def data_sets_of(folder: Path) -> list[Path]:
    """Return the data sets of a folder.

    They are the folder itself, those of a collection sorted by name, or none.
    """
    if _is_data_set(folder):
        return [folder]
    if not (folder / "version.json").is_file():
        return []
    members = [member for member in folder.iterdir() if _is_data_set(member)]
    return sorted(members, key=str)


def _is_data_set(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SIGNS)
