"""Settings every test shares, and the small plates that examples run on."""

import gc
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# No deadline: two busy cores make any time limit a coin toss. `.ci/run` repeats the
# tests that try examples with the profile "long", which tries four times as many, and
# with "few" where it only matters that they run, on a second Python version.
settings.register_profile("local", deadline=None, max_examples=25)
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, max_examples=25
)
settings.register_profile("long", settings.get_profile("ci"), max_examples=100)
settings.register_profile("few", settings.get_profile("ci"), max_examples=10)
settings.load_profile("ci" if "CI" in os.environ else "local")

# Jobs that a script starts in the background ignore Ctrl-C; tests of it must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What chooses tests, stops in one, or says already how they are shared.
CHOICES = (
    *("keyword", "collectonly", "showfixtures", "deselect", "ignore", "lf"),
    *("failedfirst", "newfirst", "stepwise", "usepdb", "trace", "tx", "maxprocesses"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have a plain `pytest` take a process for each core, up to four.

    With any choice of tests, which takes seconds, it stays one: other processes would
    first import all that the tests do.

    A process that crashed is not replaced where files are dealt out: pytest-xdist 3.8
    deals those that it had finished to the new one too, which then waits for ever.
    """
    option = config.option
    is_plain = (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and option.markexpr == "not slow"
        and option.capture != "no"
        and not any(getattr(option, name, None) for name in CHOICES)
    )
    is_alone = not hasattr(config, "workerinput")  # none that another run has started
    if is_plain and is_alone and getattr(option, "numprocesses", 0) is None:
        option.numprocesses, option.maxprocesses = "logical", 4
        option.dist, option.loadscopereorder = "loadfile", False  # as in .ci/run
    is_replaced = getattr(option, "maxworkerrestart", "0") is None
    if is_replaced and option.dist == "loadfile":
        option.maxworkerrestart = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-case",
        action="store_true",
        help="of each test that has several cases, run the first one that is chosen",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out all cases of a test but the first, where `--one-case` asks for it.

    `.ci/run` does for a second Python: every test runs there, and what its cases show
    was shown on the first.
    """
    if not config.getoption("one_case"):
        return
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.partition("[")[0], item)
    kept = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


N_PLATES, N_CELLS, N_GENES = 3, 400, 300
DRUGS = ["DMSO", "Afatinib", "Bortezomib"]
LINES = ["A-172", "A549", "HCT15", "MCF7"]


@pytest.fixture(scope="module", autouse=True)
def _only_new_objects_are_collected() -> None:
    """Keep what was imported so far out of the garbage collector's way.

    The frameworks make a million objects; a `gc.collect()` takes half a second with
    them.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what is imported: it all stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def spawned() -> Iterator[Pool]:
    """Return a process that was spawned: what it has not been sent, it does not know.

    It takes a second to start, so it is one for all tests of a file.
    """
    with get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``plates/plate1.h5ad`` to ``plate3.h5ad``.

    Each has 400 cells, 300 genes, about 30 stored counts a cell, the obs columns plate,
    cell_line, drug and total_counts, and the var columns symbol and highly_variable;
    ``layers/counts`` repeats X, ``obsm/X_pca`` is dense.
    """
    ad = pytest.importorskip("anndata")
    import pandas as pd
    import scipy.sparse as sp

    folder = tmp_path_factory.mktemp("data") / "plates"
    folder.mkdir()
    rng = np.random.default_rng(0)
    genes = pd.DataFrame(
        {
            "symbol": [f"SYN{i}" for i in range(N_GENES)],
            "highly_variable": np.arange(N_GENES) % 3 == 0,
        },
        index=[f"gene{i}" for i in range(N_GENES)],
    )
    for plate in range(1, N_PLATES + 1):
        X = sp.random_array((N_CELLS, N_GENES), density=0.1, format="csr", rng=rng)
        X.data = np.ceil(X.data * 20).astype(np.float32)
        obs = pd.DataFrame(
            {
                "plate": pd.Categorical([f"plate{plate}"] * N_CELLS),
                "cell_line": pd.Categorical(rng.choice(LINES, N_CELLS)),
                "drug": pd.Categorical(rng.choice(DRUGS, N_CELLS)),
                "total_counts": X.sum(axis=1).astype(np.float32),
            },
            index=[f"plate{plate}-{i}" for i in range(N_CELLS)],
        )
        adata = ad.AnnData(sp.csr_matrix(X), obs=obs, var=genes)
        adata.layers["counts"] = adata.X.copy()
        adata.obsm["X_pca"] = rng.normal(size=(N_CELLS, 10)).astype(np.float32)
        adata.write_h5ad(folder / f"plate{plate}.h5ad")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Have this process in a small Ray cluster of its own on this machine.

    It takes seconds to start, so tests that use it are slow ones.
    """
    ray = pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray")  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of what its next version changes
        # It says nothing to Ray's makers, and kills no worker because others fill the
        # memory of this machine.
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        # Nor does it start a process for each run that looks for machines to be taken.
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        # Its processes import what this one does, the modules of the tests too.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        ray.init(
            address="local",
            num_cpus=4,  # more than there may be: the tests' workers hardly compute
            include_dashboard=False,
            object_store_memory=80 << 20,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=folder,
        )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
