"""Knowing when not to answer: what training fits on its selection images, and what becomes of it until an app asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.api import train
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.load import load
from mobilenets.deploy.predict import predict
from mobilenets.errors import UserError
from mobilenets.training.checkpoint import load_tensors, save_tensors
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
def test_an_overconfident_network_is_cooled_and_the_same_command_fits_what_an_older_run_lacks(
    run: Path, colours: Path, tmp_path: Path
) -> None:
    """Logits eight times too large, as after training far too long: every score is near 1, right or wrong."""
    hot = shutil.copytree(run, tmp_path / "hot")
    tensors, header = load_tensors(hot / BEST)
    for name in ("head.classifier.weight", "head.classifier.bias"):
        tensors[name] = tensors[name] * 8
    save_tensors(hot / BEST, tensors, header)
    for name in (DECISION, EVALUATION):
        (hot / name).unlink()
    assert load(hot).temperature is None
    unscaled = evaluate(hot, colours)
    settings = json.loads((run / "recipe.json").read_text())["arguments"]
    asked = {name: settings[name] for name in ("model", "width", "resolution", "epochs", "batch_size", "lr")}
    train(colours, out=hot, threads=1, **asked)
    found = evaluate(hot, colours)
    assert found["calibration"]["temperature"] > 2
    assert found["loss"] < unscaled["loss"]
    assert found["calibration"]["calibration_error"] < found["calibration"]["calibration_error_before"]
    assert found["calibration"]["calibration_error_before"] == unscaled["calibration"]["calibration_error"]
    assert found["top1"] == unscaled["top1"]


def test_noise_is_unknown_and_photos_of_the_classes_are_not(exported: Path, colours: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(40):
        cv2.imwrite(str(tmp_path / f"{index}.png"), rng.integers(0, 256, (44, 56, 3), np.uint8))
    strangers = [row["unknown"] for row in predict(exported, [tmp_path])]
    known = [row["unknown"] for row in predict(exported, [colours / "val"])]
    assert np.mean(strangers) > 0.8
    assert np.mean(known) < 0.35


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
