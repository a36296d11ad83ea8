"""Errors that name the extra of a package that is not installed."""

import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from scdataset_core.optional import import_optional, naming_extra

WORDS = r"Tables need polars: pip install 'scdataset-core\[parquet\]'"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    options = {"extra": "parquet", "needed_by": "Tables"}
    with pytest.raises(ModuleNotFoundError, match=WORDS):
        import_optional("polars", **options)
    with (
        pytest.raises(ModuleNotFoundError, match=WORDS) as caught,
        naming_extra("json", "polars", **options),
    ):
        import_module("polars")
    assert caught.value.name == "polars"


def test_what_a_package_itself_lacks_is_not_blamed_on_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars_runtime", None)
    with (
        pytest.raises(ModuleNotFoundError, match="polars_runtime"),
        naming_extra("polars", extra="parquet", needed_by="Tables"),
    ):
        import_module("polars_runtime")


def test_packages_that_are_installed_are_imported():
    with naming_extra("json", extra="parquet", needed_by="Tables"):
        import json
    assert import_optional("json", extra="parquet", needed_by="Tables") is json


def test_a_package_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", SimpleNamespace(__version__="2.18.4"))
    with pytest.raises(ImportError, match=r"stores need zarr 3\.1 or later, and 2\.18"):
        import_optional("zarr", extra="zarr", needed_by="stores")
