"""One experiment that several files of tests read."""

import pytest


@pytest.fixture(scope="session")
def whole():
    """Return the cells of the experiment as an AnnData."""
    from tests.sources.soma.small_experiments import rich

    return rich()


@pytest.fixture(scope="session")
def path(whole, tmp_path_factory):
    """Return where the experiment lies."""
    from tests.sources.soma.small_experiments import write

    return write(tmp_path_factory.mktemp("some data") / "e.soma", whole)
