"""Training that stopped goes on from its checkpoint with the very next batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")

import lightning

from tests.integrations.lightning_models import (
    EPOCH,
    QUIET,
    Probe,
    Rows,
    fit,
    make_data,
    make_trainer,
    orders,
    saving,
    small_data,
)

pytestmark = QUIET


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_stops_within_an_epoch_and_goes_on(plates, tmp_path, num_workers):
    whole = Probe(300)
    make_trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(
        whole, datamodule=make_data(plates, num_workers)
    )
    assert len(whole.seen) == 3 * 25
    assert sorted(np.concatenate(whole.seen[25:50]).tolist()) == list(range(800))
    assert set(whole.validated) == set(range(800, 1200))

    first = Probe(300)
    saving = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, "at{step}", every_n_train_steps=35, save_top_k=-1
    )
    trainer = make_trainer(tmp_path, max_epochs=3, max_steps=35, callbacks=[saving])
    trainer.fit(first, datamodule=make_data(plates, num_workers))
    assert first.seen == whole.seen[:35]

    second = Probe(300)
    make_trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(
        second,
        datamodule=make_data(plates, num_workers=0),
        ckpt_path=saving.best_model_path,
        weights_only=False,
    )
    rest = np.concatenate(second.seen).tolist()
    assert sorted(rest) == sorted(np.concatenate(whole.seen[35:]).tolist())
    if num_workers == 0:
        assert second.seen == whole.seen[35:]


@pytest.mark.slow
def test_training_stops_at_the_end_of_an_epoch_and_goes_on(plates, tmp_path):
    whole = make_data(plates, num_workers=0).train_dataloader()
    expected = [batch["index"].tolist() for _ in range(3) for batch in whole]
    seen, path = [], None
    for n_steps in (25, 30, 75):
        part = Probe(300)
        trainer = make_trainer(
            tmp_path, max_epochs=9, max_steps=n_steps, enable_checkpointing=False
        )
        data = make_data(plates, num_workers=0)
        trainer.fit(part, datamodule=data, ckpt_path=path, weights_only=False)
        path = tmp_path / f"{n_steps}.ckpt"
        trainer.save_checkpoint(path)
        seen += part.seen
    assert [list(rows) for rows in seen] == expected


HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        pytest.param({}, [10, 20], id="end_of_epoch"),
        pytest.param({"every_n_train_steps": 5}, [5, 10, 15, 20], id="steps"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"reload_dataloaders_every_n_epochs": 1}, id="reload"),
        pytest.param({"val_check_interval": 0.5}, id="validation_within"),
    ],
)
def test_any_checkpoint_is_gone_on_from(tmp_path, when, steps, options):
    keeping = saving(tmp_path, **when)
    seen, _ = fit(tmp_path, small_data(), max_epochs=2, **options, **keeping)
    assert seen == orders(2)
    for step in steps:
        rest, _ = fit(
            tmp_path,
            small_data(),
            tmp_path / f"step={step}.ckpt",
            max_epochs=3,
            **options,
        )
        assert rest == orders(3)[step:]


def test_checkpoints_of_epochs_that_were_cut_short_are_gone_on_from(tmp_path):
    limit = {"limit_train_batches": 4}
    keeping = saving(tmp_path, every_n_train_steps=2)
    seen, _ = fit(tmp_path, small_data(), max_epochs=3, **limit, **keeping)
    assert seen == orders(3, 4)
    for step in (2, 4, 6, 8, 12):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, small_data(), path, max_epochs=4, **limit)
        assert rest == orders(4, 4)[step:]


@pytest.mark.parametrize("n_batches", [4, EPOCH])
@pytest.mark.parametrize("first", [2, 4, 6, 10, 13])
def test_runs_that_max_steps_ended_are_gone_on_from(tmp_path, first, n_batches):
    limit = {"limit_train_batches": n_batches, "max_epochs": 9}
    seen, path = [], None
    for step in (first, first + 3, 20):  # on from a run that was gone on from
        part, trainer = fit(tmp_path, small_data(), path, max_steps=step, **limit)
        path = tmp_path / f"{step}.ckpt"
        trainer.save_checkpoint(path)
        seen += part
    assert seen == orders(6, n_batches)[:20]


def test_a_second_fit_goes_on_with_the_trainers_epochs(tmp_path):
    data = small_data()
    seen, trainer = fit(tmp_path, data, max_epochs=1)
    trainer.fit_loop.max_epochs = 3
    model = Rows()
    trainer.fit(model, datamodule=data)
    assert seen + model.seen == orders(3)
    again, _ = fit(tmp_path, data, max_epochs=1)
    assert again == seen


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 1)])
def test_another_number_of_workers_goes_on(tmp_path, before, after):
    def data(num_workers):
        method = "fork" if num_workers else None
        return small_data(num_workers=num_workers, multiprocessing_context=method)

    keeping = saving(tmp_path, every_n_train_steps=5)
    seen, _ = fit(tmp_path, data(before), max_epochs=2, **keeping)
    for step in (5, 10, 15, 20):
        path = tmp_path / f"step={step}.ckpt"
        rest, _ = fit(tmp_path, data(after), path, max_epochs=3)
        both = seen[:step] + rest
        for epoch in range(3):
            own = orders(3)[epoch * EPOCH : (epoch + 1) * EPOCH]
            assert sorted(both[epoch * EPOCH : (epoch + 1) * EPOCH]) == sorted(own)


@pytest.mark.slow
def test_two_ranks_train_evaluate_and_go_on(tmp_path):
    steps = (9, 12)
    out = subprocess.run(
        [sys.executable, HERE / "lightning_ranks.py", tmp_path, *map(str, steps)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    # Of each rank, what it saw in each training.
    trainings = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    whole = [of_rank[0] for of_rank in trainings]
    for epoch in range(3):
        rows = np.concatenate(
            [row["seen"][epoch * 6 : epoch * 6 + 6] for row in whole], axis=None
        )
        assert sorted(rows.tolist()) == list(range(120))
        rows = np.concatenate(
            [row["validated"][epoch * 3 : epoch * 3 + 3] for row in whole], axis=None
        )
        assert sorted(rows[rows >= 0].tolist()) == list(range(120, 200))
    for first, *resumed in trainings:
        for step, again in zip(steps, resumed, strict=True):
            assert again["seen"] == first["seen"][step:]
