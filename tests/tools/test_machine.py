"""Figures about speed come with the machine they were taken on."""

import sys

from scdataset_core.tools.machine import describe_machine


def test_the_machine_and_what_is_installed_are_named():
    found = describe_machine(("numpy", "no-such-package"))
    assert found.keys() >= {"date", "processor", "system", "Python", "numpy"}
    assert "no-such-package" not in found
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["processor"].endswith("cores")
