"""How many files stay open follows from what the process may open."""

import pytest

from scdataset_core.storage.io.open_limit import most_open

resource = pytest.importorskip("resource")


@pytest.mark.parametrize(
    ("limit", "most"),
    [(64, 8), (65, 8), (160, 32), (1024, 248), (65536, 8192), (-1, 8192), (20, 4)],
)
def test_a_part_of_the_limit_is_used(monkeypatch, limit, most):
    limits = (resource.RLIM_INFINITY if limit < 0 else limit, 4096)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    assert most_open() == most
