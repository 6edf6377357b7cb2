"""A training that is stopped amid an epoch goes on at the exact sample, and ends as one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from same import fill_the_disk, same_run

from mobilenets.api import train
from mobilenets.errors import Terminated, UserError
from mobilenets.training import loop
from mobilenets.training.checkpoint import load_tensors
from mobilenets.training.part import Part
from mobilenets.training.run import BEST, LAST
from mobilenets.training.stopping import Stop

SETTINGS: dict[str, Any] = {  # with everything that draws random numbers: 6 steps an epoch
    "model": "mobilenet_v2",
    "width": 0.25,
    "resolution": 32,
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.003,
    "mixup": 0.4,
    "cutmix": 1.0,
    "set": ("stochastic_depth=0.2", "augmentation.erase=0.5", "store=1.0"),
    "checkpoint_minutes": 1e-9,  # after every step
}


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


@pytest.fixture(scope="module")
def straight(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run that nothing interrupted, without a checkpoint amid an epoch."""
    run = tmp_path_factory.mktemp("straight") / "run"
    train(shapes, out=run, **{**SETTINGS, "checkpoint_minutes": None})
    return run


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Any) -> None:
    """Calls `act` before the training's `number`-th step down the gradient."""
    original, count = loop.Epoch.step, 0

    def step(self: loop.Epoch) -> None:
        nonlocal count
        count += 1
        if count == number:
            act()
        original(self)

    monkeypatch.setattr(loop.Epoch, "step", step)


def killed() -> None:
    raise Killed


@pytest.mark.parametrize(
    "number", [2, pytest.param(8, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)]
)
def test_killed_at_a_step_it_ends_with_the_same_numbers(
    straight: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = tmp_path / "run"
    at_step(monkeypatch, number, killed)
    with pytest.raises(Killed):
        train(shapes, out=run, **SETTINGS)
    monkeypatch.undo()
    _, header = load_tensors(run / LAST)
    assert header["epoch"] * 6 + header["part"]["steps"] == number - 1
    at_step(monkeypatch, 12 - number + 2, killed)  # there is no such step: none is done twice
    train(shapes, out=run, **SETTINGS)
    same_run(straight, run)


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_leaves_a_checkpoint_after_the_step(
    straight: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, ending: type
) -> None:
    run = tmp_path / "run"
    at_step(monkeypatch, 9, lambda: os.kill(os.getpid(), number))
    settings = {**SETTINGS, "checkpoint_minutes": None}
    before = signal.getsignal(number)
    with pytest.raises(ending):
        train(shapes, out=run, **settings)
    assert signal.getsignal(number) == before
    _, header = load_tensors(run / LAST)
    assert (header["epoch"], header["part"]["steps"]) == (1, 3)  # the step was finished
    monkeypatch.undo()
    train(shapes, out=run, **settings)
    same_run(straight, run)


def test_a_signal_while_scoring_keeps_the_epoch(
    straight: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    original = loop.Epoch.run

    def run_epoch(self: loop.Epoch, *given: Any, **options: Any) -> Any:
        outcome = original(self, *given, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return outcome

    monkeypatch.setattr(loop.Epoch, "run", run_epoch)
    with pytest.raises(Terminated):
        train(shapes, out=run, **{**SETTINGS, "checkpoint_minutes": None})
    assert not (run / BEST).exists()  # nothing was scored
    assert load_tensors(run / LAST)[1]["part"]["steps"] == 6
    monkeypatch.undo()
    train(shapes, out=run, **SETTINGS)
    same_run(straight, run)


@pytest.mark.slow
def test_sigterm_from_outside_is_143_with_one_line(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--model", "mobilenet_v1_025", "--resolution", "32", "--batch-size", "16", "--epochs", "4000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilenets", "train", str(shapes), "--out", str(run), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + 200
    while not (run / LAST).exists() and time.monotonic() < give_up and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    printed, told = process.communicate(timeout=60)
    assert time.monotonic() - sent < 30
    assert (process.returncode, printed) == (143, ""), told
    assert told.splitlines()[-1] == "ended by SIGTERM; run the same command again to go on from the last checkpoint"
    assert "Traceback" not in told


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_gets_no_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with Stop() as stop:
            found.append((signal.getsignal(signal.SIGTERM), stop.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, None)]


def test_random_numbers_go_on_where_they_were() -> None:
    part = Part(3, 1)
    part.begin()
    torch.rand(5), part.rng.random(5)
    states, plain = part.saved()
    expected = torch.rand(4), part.rng.random(4)
    again = Part.restored(states, json.loads(json.dumps(plain)))
    torch.manual_seed(99)
    again.begin()
    assert torch.equal(torch.rand(4), expected[0])
    assert np.array_equal(again.rng.random(4), expected[1])


def test_the_minutes_between_checkpoints_are_checked(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint minutes 0 is out of range"):
        train(shapes, out=tmp_path / "run", **{**SETTINGS, "checkpoint_minutes": 0.0})
    assert not (tmp_path / "run").exists()


def test_a_full_disk_amid_an_epoch_loses_nothing_before_it(
    straight: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    fill_the_disk(monkeypatch, 4)
    with pytest.raises(OSError, match="No space left"):
        train(shapes, out=run, **SETTINGS)
    assert load_tensors(run / LAST)[1]["part"]["steps"] == 3
    assert not list(run.rglob("*.part"))
    monkeypatch.undo()
    train(shapes, out=run, **SETTINGS)
    same_run(straight, run)


def test_a_picture_that_vanishes_amid_an_epoch_is_named_and_the_checkpoint_stays(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data, away, run = tmp_path / "data", tmp_path / "away", tmp_path / "run"
    shutil.copytree(shapes, data)
    settings = {**SETTINGS, "set": ("store=0",)}  # every picture is read from its file each time
    at_step(monkeypatch, 7, lambda: (data / "train").rename(away))
    with pytest.raises(UserError, match=r"can no longer be read: No such file") as caught:
        train(data, out=run, **settings)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    _, header = load_tensors(run / LAST)
    assert header["epoch"] == 1
    assert header["part"]["steps"] >= 1
    away.rename(data / "train")
    capfd.readouterr()
    assert train(data, out=run, **settings)["epochs"] == 2
    assert f"going on after step {header['part']['steps']} of epoch 2" in capfd.readouterr().err
