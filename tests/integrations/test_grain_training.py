"""The example that trains through Grain resumes to the same losses after a kill."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
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


def options(model: str, plates: Path, checkpoint: Path) -> list[str]:
    steps = ["--steps", str(N_STEPS), "--save-every", "7"]
    where = ["--checkpoint", str(checkpoint)]
    return [str(plates / "*.h5ad"), "--model", model, *where, *steps]


def losses(lines: list[str]) -> dict[int, str]:
    return {int(line.split()[0]): line.split()[1] for line in lines}


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], dict[int, str]]:
    """Return a function that runs the example here, where JAX is imported already."""

    def run_here(arguments: list[str]) -> dict[int, str]:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        return losses(capsys.readouterr().out.splitlines())

    return run_here


@pytest.mark.slow
@pytest.mark.parametrize("model", ["probe", "autoencoder"])
def test_killed_run_resumes_to_the_same_losses(
    model: str,
    plates: Path,
    tmp_path: Path,
    run: Callable[[list[str]], dict[int, str]],
) -> None:
    roots = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    killed = subprocess.Popen(
        [sys.executable, str(EXAMPLE), *options(model, plates, tmp_path / "run.npz")],
        env=os.environ | {"PYTHONPATH": roots, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    seen = []
    for line in killed.stdout:
        seen.append(line)
        if line.startswith("24 "):  # past an epoch, three steps after a checkpoint
            break
    killed.kill()
    killed.communicate()

    whole = run(options(model, plates, tmp_path / "whole.npz"))
    assert list(whole) == list(range(N_STEPS))
    values = [float.fromhex(loss) for loss in whole.values()]
    assert np.mean(values[-10:]) < np.mean(values[:5])
    assert losses(seen) == {step: whole[step] for step in range(25)}
    resumed = run(options(model, plates, tmp_path / "run.npz"))
    first = min(resumed)
    assert first % 7 == 0
    assert 21 <= first < N_STEPS
    assert resumed == {step: whole[step] for step in range(first, N_STEPS)}
