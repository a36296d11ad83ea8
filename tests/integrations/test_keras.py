"""Keras' `PyDataset` over `loader.batch` reads every batch and every cell once."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("keras_counts.py")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_fit_sees_every_batch_once_whatever_the_workers(backend: str) -> None:
    for package in ("keras", backend):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    roots = os.pathsep.join(
        [str(ROOT), str(ROOT / "integrations"), os.environ.get("PYTHONPATH", "")]
    )
    out = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM)],  # JAX warns of forks
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    found = [json.loads(line) for line in out.stdout.splitlines()]
    assert len(found) == 6
    for one in found:
        shuffle = one["setting"][0]
        assert one["batches"] == [63, 63], one
        assert one["once"] == [True, True], one
        assert one["in_order"] == [not shuffle] * 2, one
        assert not one["same"], one
