"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from scdataset_core.sources import formats
from scdataset_core.storage.decoding import registry

PACKAGES = [
    "scdataset_core",
    "scdataset_torch",
    "scdataset_grain",
    "scdataset_generators",
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_names() -> Iterator[str]:
    """Yield every module's name, without importing any."""
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        yield package
        pending = [(package, spec.submodule_search_locations)]
        while pending:
            parent, folders = pending.pop()
            for found in pkgutil.iter_modules(folders, parent + "."):
                yield found.name
                if found.ispkg:
                    tail = found.name.rpartition(".")[2]
                    nested = [str(Path(folder) / tail) for folder in folders or []]
                    pending.append((found.name, nested))


@pytest.mark.parametrize("name", sorted(module_names()))
def test_docstring_examples(
    name: str, plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or err.name.startswith("scdataset_"):
            raise
        pytest.skip(f"{err.name} is not installed")
    if ">>>" not in Path(module.__file__ or "").read_text("utf-8"):
        return
    shutil.copytree(plates, tmp_path / "plates")
    monkeypatch.chdir(tmp_path)
    # What an example registers must not stay for other tests.
    monkeypatch.setattr(formats, "FILE_FORMATS", [*formats.FILE_FORMATS])
    monkeypatch.setattr(registry, "_decoders", dict(registry._decoders))
    monkeypatch.setattr(registry, "_zarr_numbers", dict(registry._zarr_numbers))
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0
