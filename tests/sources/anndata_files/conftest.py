"""Stores that several files of tests damage, each a copy of its own."""

import shutil
from pathlib import Path

import pytest

from tests.sources.small_cells import make_parts


@pytest.fixture(scope="session")
def copy_store(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that makes a zarr store of the contract's first part."""
    from tests.sources.anndata_files.zarr_stores import write

    written: dict[int, Path] = {}

    def copy(path: Path, version: int = 3) -> Path:
        if version not in written:
            new = tmp_path_factory.mktemp("store") / "a.zarr"
            written[version] = write(new, make_parts()[0], version=version)
        return shutil.copytree(written[version], path)

    return copy
