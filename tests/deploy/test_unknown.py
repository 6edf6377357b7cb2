"""Knowing when not to answer: what training fits on its selection images, and what becomes of it until an app asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.api import train
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.load import load
from mobilenets.deploy.predict import predict
from mobilenets.errors import UserError
from mobilenets.training.run import BEST, DECISION, EVALUATION


def manifest(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    return found


def test_the_run_and_its_bundle_decide_alike(run: Path, exported: Path) -> None:
    fitted = json.loads((run / DECISION).read_text())
    decision = manifest(exported)["decision"]
    assert decision["temperature"] == fitted["temperature"] == load(run).temperature
    (chosen,) = [row for row in fitted["thresholds"] if row["keep"] == 0.95]
    assert decision["threshold"] == chosen["threshold"] == load(run).threshold
    assert decision["selection"]["images"] == fitted["images"] == 9  # a tenth of 90; none of the 120 reported
    assert decision["selection"]["kept"] >= 0.95
    assert load(exported).decision == decision


def test_evaluate_says_how_far_scores_can_be_believed(run: Path, exported: Path, colours: Path) -> None:
    trained = json.loads((run / EVALUATION).read_text())["calibration"]
    found = evaluate(exported, colours)["calibration"]
    assert found["temperature"] == trained["temperature"]
    assert found["calibration_error"] == pytest.approx(trained["calibration_error"], abs=1e-3)
    assert found["answered"]["coverage"] == pytest.approx(trained["answered"]["coverage"], abs=0.02)
    assert sum(row["images"] for row in found["reliability"]) == 120


@pytest.mark.slow
def test_the_same_command_fits_what_a_run_of_an_older_version_lacks(run: Path, colours: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    (old / DECISION).unlink()
    assert load(old).decision == {"activation": "softmax", "temperature": None, "threshold": None, "selection": None}
    assert evaluate(old, colours)["calibration"]["answered"] is None
    settings = json.loads((run / "recipe.json").read_text())["arguments"]
    asked = {name: settings[name] for name in ("model", "width", "resolution", "epochs", "batch_size", "lr")}
    train(colours, out=old, threads=1, **asked)
    assert json.loads((old / DECISION).read_text()) == json.loads((run / DECISION).read_text())
    assert (old / BEST).read_bytes() == (run / BEST).read_bytes()


def test_unknown_is_what_scores_below_the_threshold(run: Path, colours: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "strict", keep=0.3)
    threshold = load(tmp_path / "strict").threshold
    assert threshold is not None
    rows = predict(tmp_path / "strict", [colours / "val"])
    assert {row["unknown"] for row in rows} == {True, False}
    assert all(row["unknown"] is (row["predictions"][0]["score"] < threshold) for row in rows)
    found = evaluate(tmp_path / "strict", colours, "val")["calibration"]
    assert found["answered"]["coverage"] == pytest.approx(np.mean([not row["unknown"] for row in rows]))


def test_another_threshold_is_chosen_without_the_images(run: Path, exported: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "half", keep=0.5)
    half = manifest(tmp_path / "half")["decision"]
    assert half["threshold"] > manifest(exported)["decision"]["threshold"]
    assert 0.5 <= half["selection"]["kept"] < 0.7
    with pytest.raises(UserError, match=r"keep 1\.5 is out of range: allowed is above 0 to 1"):
        export(run, tmp_path / "other", keep=1.5)
    with pytest.raises(UserError, match=r"keep 0\.9 goes with a run of `train`"):
        export(exported, tmp_path / "other", keep=0.9)
    assert not (tmp_path / "other").exists()


def test_a_broken_decision_is_named(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / DECISION).write_text('{"temperature": 1}')
    with pytest.raises(UserError, match=r"decision\.json: not what `train` writes"):
        load(copy)
