"""A whole training: the Run it leaves, resuming after every kind of stop, and what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_shapes import write_shapes
from dying import die_and_go_on, kill_when
from same import fill_the_disk, metrics, same_run

from mobilenets.api import train
from mobilenets.errors import UserError
from mobilenets.training import checkpoint
from mobilenets.training.hold import held
from mobilenets.training.run import BEST, EVALUATION, LAST, METRICS, open_run

SETTINGS: dict[str, Any] = {
    "model": "mobilenet_v1_025",
    "resolution": 32,
    "total_stride": 32,
    "epochs": 4,
    "batch_size": 16,
    "lr": 0.003,
}


@pytest.fixture(scope="module")
def straight(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run that nothing interrupted."""
    run = tmp_path_factory.mktemp("straight") / "run"
    train(shapes, out=run, **SETTINGS)
    return run


def test_the_run_holds_everything_and_learns(straight: Path, shapes: Path) -> None:
    run = open_run(straight)
    assert [row["name"] for row in run.labels] == ["disc", "square", "stripes"]
    assert run.recipe["data"]["images"]["report"] == 48
    assert run.recipe["versions"]["torch"] == torch.__version__
    assert len(metrics(straight)) == 4
    first, last = metrics(straight)[0], metrics(straight)[-1]
    assert last["train_loss"] < first["train_loss"]
    evaluation = json.loads((straight / EVALUATION).read_text())
    assert evaluation["split"] == "val"
    assert evaluation["images"] == 48
    assert np.array(evaluation["confusion"]).sum() == 48
    assert list(straight.glob("events.out.tfevents.*"))
    assert (straight / "report.html").stat().st_size > 1000
    network = run.network()
    assert not network.training
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.slow
def test_it_learns_the_shapes(shapes: Path, tmp_path: Path) -> None:
    result = train(shapes, out=tmp_path / "run", **{**SETTINGS, "epochs": 40, "lr": 0.01})
    assert result["report"]["top1"] > 0.8  # chance is a third; 0.96 at least in twelve runs
    low, high = result["report"]["top1_interval"]
    assert low < result["report"]["top1"] <= high


def test_a_second_call_prints_the_finished_result(straight: Path, shapes: Path) -> None:
    before = (straight / LAST).stat().st_mtime_ns
    again = train(shapes, out=straight, **SETTINGS)
    assert again["epochs"] == 4
    assert (straight / LAST).stat().st_mtime_ns == before


@pytest.mark.parametrize("target", ["save", "save_best", "score", "evaluate", "write_report", "write_text"])
@pytest.mark.parametrize("call", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_stopped_at_any_write_it_ends_with_the_same_numbers(
    straight: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, call: int
) -> None:
    """The process dies just before the given write for the `call`-th time; the same command then finishes."""
    run = tmp_path / "run"
    die_and_go_on(monkeypatch, target, call, lambda: train(shapes, out=run, **SETTINGS))
    same_run(straight, run)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["spec.json", "recipe.json", BEST, LAST, "second epoch", "0.05 s later", EVALUATION])
def test_sigkill_at_any_moment(straight: Path, shapes: Path, tmp_path: Path, moment: str) -> None:
    """A killed process loses nothing that was committed, and the same command ends with the same metrics."""
    run = tmp_path / "run"

    def reached() -> bool:
        if moment == "second epoch":
            return (run / METRICS).exists() and len((run / METRICS).read_text().splitlines()) >= 2
        return (run / (LAST if moment.endswith("later") else moment)).exists()

    arguments = {"data": str(shapes), "out": str(run), **SETTINGS}
    kill_when(reached, arguments, after=0.05 if moment.endswith("later") else 0)
    train(shapes, out=run, **SETTINGS)
    same_run(straight, run)
    assert not list(run.rglob("*.part"))


def test_one_training_at_a_time(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    with held(run), pytest.raises(UserError, match=r"run: another training is at work in it"):
        train(shapes, out=run, **SETTINGS)
    assert not run.exists()
    (tmp_path / "no cache").write_text("a file")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "no cache"))
    with held(run), held(run):  # nothing can be held
        pass


def test_minutes_that_end_before_the_first_step(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"minutes 1e-06 were over before the first step: give more"):
        train(shapes, out=tmp_path / "run", **SETTINGS, minutes=1e-6)


def test_other_arguments_are_refused_by_name(straight: Path, shapes: Path) -> None:
    with pytest.raises(UserError, match=r"lr 0.003, now 0.1"):
        train(shapes, out=straight, **{**SETTINGS, "lr": 0.1})


def test_restart_begins_again(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(shapes, out=run, **{**SETTINGS, "epochs": 1})
    assert train(shapes, out=run, **{**SETTINGS, "epochs": 2}, restart=True)["epochs"] == 2


def test_minutes_end_the_training_with_the_learning_rate(shapes: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    result = train(shapes, out=tmp_path / "run", **{**SETTINGS, "epochs": None}, minutes=0.08)
    assert 3 < time.monotonic() - started < 30
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert result["epochs"] == len(rows) >= 1
    assert rows[-1]["lr"] < 0.003 * 0.3


def test_changed_data_is_noticed(shapes: Path, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", train=12, val=4)
    train(data, out=tmp_path / "run", **{**SETTINGS, "epochs": 1, "batch_size": 8})
    (data / "train/disc/000.png").write_bytes((data / "train/disc/001.png").read_bytes())
    with pytest.raises(UserError, match="changed since"):
        train(data, out=tmp_path / "run", **{**SETTINGS, "epochs": 1, "batch_size": 8})


def test_a_loss_that_is_not_finite_names_the_step(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mobilenets.training import loop

    original, count = loop.classification_loss, 0

    def poisoned(*given: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        return original(*given) * (float("nan") if count == 9 else 1.0)

    monkeypatch.setattr(loop, "classification_loss", poisoned)
    with pytest.raises(UserError, match=r"nan at step 3 of epoch 2"):
        train(shapes, out=tmp_path / "run", **SETTINGS)
    assert open_run(tmp_path / "run").network()  # the first epoch is kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mobilenet_v9"}, "unknown model 'mobilenet_v9'"),
        ({"width": 0.0, "model": "mobilenet_v1"}, "width 0 is out of range"),
        ({"resolution": 8}, "resolution 8 is out of range"),
        ({"epochs": 0}, "epochs 0 is out of range"),
        ({"batch_size": 1}, "batch size 1 is out of range"),
        ({"lr": -1.0}, "lr -1 is out of range"),
        ({"minutes": 0.0}, "minutes 0 is out of range"),
        ({"recipe": "best"}, "unknown recipe 'best'"),
        ({"device": "tpu"}, "device 'tpu' is not available"),
        ({"threads": 0}, "threads 0 is out of range"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"mixup": -1.0}, "mixup -1 is out of range"),
    ],
)
def test_bad_values_are_one_line_and_leave_nothing(
    shapes: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(shapes, out=tmp_path / "run", **{**SETTINGS, **change})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_left_alone(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not a run"):
        train(shapes, out=tmp_path, **SETTINGS, restart=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_bfloat16_trains(shapes: Path, tmp_path: Path) -> None:
    train(shapes, out=tmp_path / "run", **{**SETTINGS, "epochs": 2}, precision="bfloat16")
    rows = metrics(tmp_path / "run")
    assert all(np.isfinite(row["train_loss"]) for row in rows)
    tensors, _ = checkpoint.load_tensors(tmp_path / "run" / BEST)
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_corrupt_checkpoint_is_one_line(shapes: Path, tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    train(shapes, out=run, **{**SETTINGS, "epochs": 1})
    whole = (run / LAST).read_bytes()
    (run / LAST).write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"x" * 1000, "empty": b""}[damage])
    with pytest.raises(UserError, match="not a whole checkpoint") as caught:
        train(shapes, out=run, **{**SETTINGS, "epochs": 1})
    assert "\n" not in str(caught.value)


def test_full_disk_keeps_the_last_checkpoint(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills during the second checkpoint: the first stays whole, and the training goes on from it."""
    run = tmp_path / "run"
    fill_the_disk(monkeypatch, 4)
    with pytest.raises(OSError, match="No space left"):
        train(shapes, out=run, **SETTINGS)
    assert not list(run.rglob("*.part"))
    monkeypatch.undo()
    assert train(shapes, out=run, **SETTINGS)["epochs"] == 4
