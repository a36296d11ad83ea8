"""The example that trains through Grain resumes to the same losses after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grain")
pytest.importorskip("jax")
pytest.importorskip("optax")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "grain_training.py"
N_STEPS = 45  # epochs have 19 batches
if not EXAMPLE.exists():
    pytest.skip("needs the source tree", allow_module_level=True)


def start(model: str, plates: Path, checkpoint: Path) -> subprocess.Popen[str]:
    roots = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    options = [f"--{name}" for name in ("model", "checkpoint", "steps", "save-every")]
    values = [model, str(checkpoint), str(N_STEPS), "7"]
    pairs = [word for pair in zip(options, values, strict=True) for word in pair]
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), str(plates / "*.h5ad"), *pairs],
        env=os.environ | {"PYTHONPATH": roots, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(running: subprocess.Popen[str]) -> dict[int, str]:
    output, errors = running.communicate(timeout=200)
    assert running.returncode == 0, errors
    return {int(line.split()[0]): line.split()[1] for line in output.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["probe", "autoencoder"])
def test_killed_run_resumes_to_the_same_losses(
    model: str, plates: Path, tmp_path: Path
) -> None:
    whole_run = start(model, plates, tmp_path / "whole.npz")
    killed = start(model, plates, tmp_path / "run.npz")
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith(
            "24 "
        ):  # past the first epoch, three steps after a checkpoint
            break
    killed.kill()
    killed.communicate()
    whole = losses(whole_run)
    assert list(whole) == list(range(N_STEPS))
    values = [float.fromhex(loss) for loss in whole.values()]
    assert np.mean(values[-10:]) < np.mean(values[:5])

    resumed = losses(start(model, plates, tmp_path / "run.npz"))
    first = min(resumed)
    assert first % 7 == 0
    assert 21 <= first < N_STEPS
    assert resumed == {step: whole[step] for step in range(first, N_STEPS)}
