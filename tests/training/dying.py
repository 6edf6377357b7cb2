"""Trainings that die, before one of their writes or by SIGKILL from outside; and weights that change meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.training import epochs, head_only, session
from mobilenets.training.checkpoint import load_tensors, save_tensors
from mobilenets.training.run import BEST

OWNERS: dict[str, Any] = {
    "save": session.Session,
    "save_best": session.Session,
    "write_report": epochs,
    "write_text": epochs,
    "store": head_only,
}


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


def die_and_go_on(monkeypatch: pytest.MonkeyPatch, target: str, call: int, train: Callable[[], dict[str, Any]]) -> None:
    """Runs `train` until the write `target` is called for the `call`-th time, then again to its end."""
    owner = OWNERS.get(target, epochs.Training)
    original, count = getattr(owner, target), 0

    def dying(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise Killed
        return original(*args, **options)

    monkeypatch.setattr(owner, target, dying)
    try:
        train()
    except Killed:
        monkeypatch.undo()
        train()
    else:
        assert count < call, "the write was reached and did not stop the training"


def kill_when(reached: Callable[[], bool], arguments: dict[str, Any], after: float = 0.0) -> None:
    """Trains in a process of its own and kills it `after` seconds once `reached` says so."""
    code = f"import json; from mobilenets.api import train; train(**json.loads({json.dumps(arguments)!r}))"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on the threads
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while not reached() and process.poll() is None:
        assert time.monotonic() < give_up
        time.sleep(0.002)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()


def change_weights(run: Path) -> None:
    """Moves one number of the weights that a Run selected."""
    tensors, header = load_tensors(run / BEST)
    tensors["head.classifier.bias"][0] += 1
    save_tensors(run / BEST, tensors, header)
