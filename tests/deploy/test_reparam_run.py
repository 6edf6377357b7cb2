"""A Run that trained with branches is a Run like any other: resumed, scored, exported, quantised and trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lively import pictures

from mobilenets.api import cost, create_model, train
from mobilenets.arch.registry import create_spec
from mobilenets.cli.main import main
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.load import load
from mobilenets.deploy.prune import prune
from mobilenets.deploy.quantize import quantize
from mobilenets.errors import UserError
from mobilenets.nn.reparam import BranchedConvNormAct
from mobilenets.training.run import EVALUATION, METRICS, RECIPE, REPORT, SPEC, open_run
from mobilenets.weights.convert import convert_out

TINY: dict[str, Any] = {"resolution": 32, "epochs": 1, "batch_size": 45, "threads": 1}
BRANCHED = TINY | {
    "model": "mobilenet_v1_shallow",
    "width": 0.25,
    "reparam": 2,
    "epochs": 3,
    "batch_size": 12,
    "lr": 0.004,
    "set": ("stochastic_depth=0.1", "averaging.rule=constant", "averaging.decay=0.8"),
}


@pytest.fixture(scope="module")
def branched(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Run with branches, an average of the weights and stochastic depth."""
    run = tmp_path_factory.mktemp("branched") / "run"
    train(colours, out=run, **BRANCHED)
    return run


@pytest.fixture(scope="module")
def its_bundle(branched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("branched") / "bundle"
    export(branched, folder)
    return folder


def test_the_run_says_that_it_has_branches_and_costs_what_ships(branched: Path) -> None:
    run = open_run(branched)
    assert (run.spec.reparam, run.recipe["arguments"]["reparam"]) == (2, 2)
    assert sum(isinstance(module, BranchedConvNormAct) for module in run.network().modules()) == 17
    plain = create_spec("mobilenet_v1_shallow", width=0.25, resolution=32, total_stride=8, classes=3)
    assert cost(branched).to_json() == cost(plain).to_json()
    row = json.loads((branched / METRICS).read_text().splitlines()[-1])
    assert np.isfinite(row["train_loss"])
    assert row["ema"] is True
    report = (branched / REPORT).read_text(encoding="utf-8")
    assert "parameters, branches folded" in report
    assert "--reparam 2" in report


def test_the_same_again_is_the_same_and_other_branches_are_refused(branched: Path, colours: Path) -> None:
    assert train(colours, out=branched, **BRANCHED)["epochs"] == 3
    with pytest.raises(UserError, match="was trained with reparam 2, now left out"):
        train(colours, out=branched, **{**BRANCHED, "reparam": 0})


def test_the_bundle_holds_the_folded_network(branched: Path, its_bundle: Path) -> None:
    ours, theirs = load(branched), load(its_bundle)
    assert (theirs.spec.reparam, theirs.spec.norm.kind) == (0, "none")
    assert not any(isinstance(module, BranchedConvNormAct) for module in theirs.network.modules())
    assert theirs.source["arguments"]["reparam"] == 2
    images = pictures(4, 32)
    expected = ours.logits(images)
    folded = load(its_bundle).network
    for found in (theirs.logits(images), type(ours.session)(folded).run(images)):  # the file, and the network beside it
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_run_and_bundle_score_alike(branched: Path, its_bundle: Path, colours: Path) -> None:
    own = json.loads((branched / EVALUATION).read_text())
    assert evaluate(branched, colours)["top1"] == own["top1"]
    assert abs(evaluate(its_bundle, colours)["top1"] - own["top1"]) <= 1 / 120


@pytest.mark.slow
def test_it_is_quantised_and_exported_in_int8(branched: Path, tmp_path: Path) -> None:
    answer = quantize(branched, tmp_path / "int8", max_drop=1.0)
    assert answer["images"] == 120
    assert answer["top1_float"] == json.loads((branched / EVALUATION).read_text())["top1"]
    assert open_run(tmp_path / "int8").spec.reparam == 2
    images = pictures(4, 32)
    expected = load(tmp_path / "int8").logits(images)
    export(tmp_path / "int8", tmp_path / "bundle")
    found = load(tmp_path / "bundle" / "onnx" / "int8" / "model.onnx").logits(images)
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()


def test_it_is_pruned_as_the_folded_network(branched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prune(branched, tmp_path / "pruned", keep=0.6, method="uniform", multiple=4, epochs=1)
    assert "its branches (reparam 2) are folded first" in capsys.readouterr().err
    spec = open_run(tmp_path / "pruned").spec
    assert (spec.reparam, spec.norm.kind) == (0, "batch")
    assert cost(spec).macs <= 0.6 * cost(branched).macs


def test_other_trainings_begin_from_it(branched: Path, its_bundle: Path, colours: Path, tmp_path: Path) -> None:
    train(colours, weights=branched, out=tmp_path / "on", **TINY)
    assert open_run(tmp_path / "on").spec.reparam == 2
    train(colours, weights=its_bundle, out=tmp_path / "folded", **TINY)
    spec = open_run(tmp_path / "folded").spec
    assert (spec.reparam, spec.norm.kind) == (0, "batch")
    with pytest.raises(UserError, match="total stride 4 changes which branches the weights' convolutions have"):
        train(colours, weights=branched, out=tmp_path / "other", total_stride=4, **TINY)
    with pytest.raises(UserError, match="reparam 2 goes with a model that is built anew; weights have their own"):
        train(colours, weights=branched, out=tmp_path / "other", reparam=2, **TINY)
    with pytest.raises(UserError, match=r"reparam -1 is out of range"):
        train(colours, model="mobilenet_v2", out=tmp_path / "other", reparam=-1, **TINY)


@pytest.mark.parametrize(("library", "suffix"), [("timm", ".safetensors"), ("torchvision", ".pth")])
def test_libraries_that_keep_batch_norm_apart_are_told_of(
    branched: Path, library: str, suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="its BatchNorm is folded into the convolutions"):
        convert_out(branched, library, tmp_path / f"weights{suffix}")


@pytest.mark.slow
def test_keras_gets_the_folded_network(branched: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    written = convert_out(branched, "keras", tmp_path / "model.keras")
    assert written["ok"]
    assert written["max_abs_error"] < 1e-3


def test_a_model_with_branches(branched: Path) -> None:
    assert create_model("mobilenet_v1_025", classes=2, reparam=True).spec.reparam == 1
    with pytest.raises(UserError, match="reparam 2 fits an architecture's name only"):
        create_model(str(branched), reparam=2)


def test_from_the_command_line(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "mobilenet_v1_025", "--resolution", "32", "--epochs", "1", "--batch-size", "45"]
    assert main(["train", str(colours), "--out", str(tmp_path / "run"), *words, "--reparam", "1"]) == 0
    assert "trains with branches (reparam 1)" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / SPEC).read_text())["reparam"] == 1
    assert json.loads((tmp_path / "run" / RECIPE).read_text())["arguments"]["reparam"] == 1
    assert main(["train", str(colours), "--out", str(tmp_path / "plain"), *words, "--reparam", "0"]) == 0
    assert "reparam" not in json.loads((tmp_path / "plain" / SPEC).read_text())
    assert json.loads((tmp_path / "plain" / RECIPE).read_text())["arguments"]["reparam"] is None
