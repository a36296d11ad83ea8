"""What each package exports is what it says it exports."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

LIMITS = {  # the most names a package may export
    "scdataset_core": 30,
    "scdataset_torch": 8,
    "scdataset_grain": 8,
    "scdataset_generators": 4,
    "scdataset_ray": 4,
}


def package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or err.name.startswith("scdataset_"):
            raise
        pytest.skip(f"{err.name} is not installed")


@pytest.mark.parametrize("name", LIMITS)
def test_all_lists_exactly_the_public_names(name: str) -> None:
    module = package(name)
    present = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (not inspect.ismodule(value) or key in module.__all__)
    }
    assert set(module.__all__) - {"__version__"} == present


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_surface_stays_small(name: str, limit: int) -> None:
    assert len(package(name).__all__) <= limit


@pytest.mark.parametrize("name", LIMITS)
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = package(name)
    bare = [
        key
        for key in module.__all__
        if not key.startswith("__") and not inspect.getdoc(getattr(module, key))
    ]
    assert bare == []


def test_tools_are_functions_whatever_was_imported():
    """A module of a tool must not have the tool's name: importing it would hide it."""
    tools = importlib.import_module("scdataset_core.tools")
    for module in pkgutil.iter_modules(tools.__path__):
        assert module.name not in tools.__all__
