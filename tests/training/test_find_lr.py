"""The range test: what it suggests, what it leaves, and that nothing else changes."""

from __future__ import annotations

import builtins
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.api import train
from mobilenets.errors import UserError
from mobilenets.training import find_lr
from mobilenets.training.find_lr import suggest
from mobilenets.training.run import RANGE_TEST

SMALL: dict[str, Any] = {"model": "mobilenet_v1_025", "resolution": 32, "total_stride": 32, "batch_size": 16}


def test_the_suggestion_on_a_known_curve() -> None:
    """A loss that falls as a logistic in log10(lr) around 1e-3 and rises from 0.1 on."""
    rates = np.geomspace(1e-6, 10, 141)
    logs = np.log10(rates)
    curve = 2 - 1.5 / (1 + np.exp(-4 * (logs + 3))) + np.maximum(logs + 1, 0) ** 2
    lr, steepest = suggest(rates.tolist(), curve.tolist())
    assert lr == pytest.approx(rates[int(curve.argmin())] / 10)
    assert 0.005 < lr < 0.02
    assert steepest == pytest.approx(1e-3, rel=0.15)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    assert suggest([1e-6, 1e-5, 1e-4], [1.0, 1.1, 1.2]) == (None, None)
    assert suggest([], []) == (None, None)


def test_it_sweeps_and_writes_and_a_run_may_follow(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_lr, "STEPS", 36)  # a third of what it makes
    out = tmp_path / "run"
    result = train(shapes, out=out, find_lr=True, **SMALL)
    found = result["find_lr"]
    assert sorted(path.name for path in out.iterdir()) == sorted(RANGE_TEST)
    assert json.loads((out / RANGE_TEST[0]).read_text()) == found
    rates = np.log(found["rates"])
    assert np.diff(rates) == pytest.approx(np.full(len(rates) - 1, math.log(1e7) / 35))
    assert len(rates) == len(found["losses"]) == len(found["smoothed"]) > 15
    assert found["lr"] is not None
    assert 1e-5 < found["lr"] < 1
    picture = cv2.imread(result["files"]["plot"])
    assert picture.std() > 5
    assert picture.shape[1] > 600
    train(shapes, out=out, epochs=1, **SMALL)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name not in RANGE_TEST}
    assert train(shapes, out=out, find_lr=True, **SMALL)["find_lr"] == found
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(before) == sum(path.is_file() and path.name not in RANGE_TEST for path in out.rglob("*"))


def test_without_matplotlib_it_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobilenets.training.find_lr_plot import draw

    original = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert draw([1e-3, 1e-2], [1.0, 0.9], [1.0, 0.95], 1e-3, None, tmp_path / "plot.png") is False
    assert not (tmp_path / "plot.png").exists()
    assert capsys.readouterr().err.count('pip install "mobilenets[plot]"') == 1


def test_it_is_refused_where_no_steps_are_made(shapes: Path, tmp_path: Path) -> None:
    train(shapes, out=tmp_path / "weights", epochs=1, **SMALL)
    with pytest.raises(UserError, match="find lr contradicts freeze all"):
        train(shapes, weights=tmp_path / "weights", out=tmp_path / "head", freeze="all", find_lr=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        train(shapes, out=tmp_path / "file", find_lr=True, **SMALL)
