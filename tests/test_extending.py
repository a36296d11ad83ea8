"""The format that docs/extending.md adds keeps the contract of every format."""

from pathlib import Path
from typing import Any

import pytest

from scdataset_core.sources import formats
from tests.sources.contract import SourceContract
from tests.test_docs import ROOT, blocks, read

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module", autouse=True)
def no_format_stays_registered() -> Any:
    known = list(formats.FILE_FORMATS)
    yield
    formats.FILE_FORMATS[:] = known


def run_definitions() -> dict[str, Any]:
    """Run what the page's part on file formats defines; return its names."""
    part = read(PAGE).partition("## A file format")[2]
    names: dict[str, Any] = {}
    exec("import numpy as np\nimport scdataset_core as scd", names)
    for block in blocks(part):
        if "def " in block.code:
            exec(compile(block.code, str(PAGE), "exec"), names)
    return names


@pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")
class TestFormatOfThePage(SourceContract):
    @classmethod
    def write(cls, folder: Path, parts: list[Any]) -> list[str]:
        names = run_definitions()
        paths = [folder / f"part{number}.csr" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            names["write_folder"](path, part)
        return [str(path) for path in paths]
