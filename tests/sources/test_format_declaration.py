"""Recognising objects by their class, without importing what brings it."""

import sys
from collections import OrderedDict

import numpy as np

from scdataset_core.sources.format_declaration import comes_from


class Table(OrderedDict):  # type: ignore[type-arg] # of anything
    """A user's own class over one of a package."""


def test_the_package_of_a_class_or_of_any_base_counts():
    assert comes_from(np.arange(3), "numpy")
    assert comes_from(np.ma.masked_array([1]), "pandas", "numpy")
    assert comes_from(Table(), "collections")
    assert not comes_from(Table(), "numpy", "pandas")


def test_a_package_whose_name_only_begins_alike_does_not_count():
    assert not comes_from(np.arange(3), "num", "numpy.core")


def test_nothing_is_imported():
    assert "antigravity" not in sys.modules
    assert not comes_from(object(), "antigravity")
    assert "antigravity" not in sys.modules
