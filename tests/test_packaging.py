"""The tree, `pyproject.toml` and the messages in the code agree with each other."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import scdataset_core

ROOT = Path(__file__).parent.parent
PACKAGES = [
    "scdataset_core",
    "integrations/scdataset_torch",
    "integrations/scdataset_grain",
    "integrations/scdataset_generators",
    "integrations/scdataset_ray",
]

in_repository = pytest.mark.skipif(
    not (ROOT / "scdataset_core").is_dir(), reason="needs the source tree"
)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_installed_version_is_the_one_in_the_package() -> None:
    try:
        installed = metadata.version("scdataset-core")
    except metadata.PackageNotFoundError:
        pytest.skip("scdataset-core is not installed, only on the path")
    assert installed == scdataset_core.__version__


@in_repository
def test_wheel_lists_every_package_and_each_is_typed() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == PACKAGES
    found = [f"integrations/{p.name}" for p in (ROOT / "integrations").glob("scdata*")]
    assert sorted(found) == sorted(PACKAGES[1:])
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()


@in_repository
def test_no_stray_modules_at_the_top() -> None:
    assert list(ROOT.glob("*.py")) == []
    for folder in ("tests", "docs", "integrations"):
        assert list((ROOT / folder).glob("__init__.py")) == []


@in_repository
def test_no_module_is_longer_than_five_hundred_lines() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    assert {name: size for name, size in sizes.items() if size > 500} == {}


@in_repository
def test_every_extra_named_in_the_code_and_the_docs_exists() -> None:
    extras = set(project()["project"]["optional-dependencies"])
    files = [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]
    files += [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (path.name, extra)
        for path in files
        for group in re.findall(r"scdataset-core\[([a-z,]+)\]", path.read_text())
        for extra in group.split(",")
    }
    assert {(name, extra) for name, extra in named if extra not in extras} == set()


@in_repository
def test_every_extra_is_in_the_table_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z]+)` \|", readme, flags=re.MULTILINE))
    assert rows == set(project()["project"]["optional-dependencies"])
