"""What can be seen here of systems that the tests do not run on."""

import ast
from pathlib import Path

import pytest

import scdataset_core

MODULES = sorted(Path(scdataset_core.__file__).parent.rglob("*.py"))


def sums_of_lists(module):
    """Yield the running sums of lists in a module, as nodes of its tree."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "cumsum"
            and isinstance(node.args[0], ast.List | ast.ListComp | ast.Tuple)
        ):
            yield node


def test_running_sums_of_counts_name_their_type():
    """NumPy 1.26 takes int32 for lists of integers on Windows, which 2**31 overflow."""
    sums = [(module.name, node) for module in MODULES for node in sums_of_lists(module)]
    assert sums
    for name, node in sums:
        if not any(keyword.arg == "dtype" for keyword in node.keywords):
            pytest.fail(f"{name}, line {node.lineno}: np.cumsum(...) without dtype=")
