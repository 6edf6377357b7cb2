"""`quantize` end to end: a Run becomes a quantised one, which evaluates, exports and opens as what was measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.api import train
from mobilenets.compress.files import TABLE
from mobilenets.data.dataset import open_dataset
from mobilenets.data.roles import roles
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.load import load
from mobilenets.deploy.quantise_data import divide
from mobilenets.deploy.quantize import quantize
from mobilenets.deploy.runtimes import runtime
from mobilenets.deploy.verify import verify
from mobilenets.errors import UserError
from mobilenets.training.checkpoint import load_tensors, save_tensors
from mobilenets.training.run import BEST, QUANTISATION


@pytest.fixture(scope="session")
def answer(run: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What quantize says of the small Run, its output folder in `run`. Not to be changed."""
    return quantize(run, tmp_path_factory.mktemp("quantised") / "int8")


@pytest.fixture(scope="session")
def int8(answer: dict[str, Any]) -> Path:
    return Path(answer["run"])


def test_it_says_what_was_lost_and_why(answer: dict[str, Any]) -> None:
    assert answer["ok"] is True
    assert answer["images"] == 120
    assert answer["top1_float"] - answer["top1_int8"] == answer["drop"]
    assert answer["agreement"] >= 0.95
    assert answer["int8_macs"] == 1
    names = [row["layer"] for row in answer["layers"]]
    assert names[0] == "blocks.0.conv"
    assert names[-1] == "head.classifier"
    assert answer["repair"]["words"] in [row["words"] for row in answer["tried"]]


def test_selection_and_calibration_are_no_reported_images(answer: dict[str, Any], colours: Path) -> None:
    assert answer["split"] == "val"
    assert answer["calibration_images"] + answer["selection"]["images"] <= 90
    parts = divide(open_dataset(colours), 512)
    names = [{sample.name for sample in part} for part in (parts.calibration, parts.selection, parts.report)]
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]
    assert {sample.label for sample in parts.calibration[:12]} == {0, 1, 2}  # any first few stand for all


def test_few_images_of_a_class_are_divided_as_for_training(colours: Path, tmp_path: Path) -> None:
    for folder in (colours / "train").iterdir():
        (tmp_path / "few" / folder.name).mkdir(parents=True)
        for picture in sorted(folder.iterdir())[:4]:
            shutil.copy(picture, tmp_path / "few" / folder.name)
    dataset = open_dataset(tmp_path / "few")
    parts, trained = divide(dataset, 512), roles(dataset)
    assert {sample.name for sample in parts.report} == {sample.name for sample in trained.report}


def test_a_network_of_nan_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    tensors, header = load_tensors(copy / BEST)
    tensors["head.classifier.weight"].fill_(torch.nan)
    save_tensors(copy / BEST, tensors, header)
    with pytest.raises(UserError, match="the network's own answers are no numbers"):
        quantize(copy, tmp_path / "int8")


def test_without_torchao_it_is_one_line(run: Path, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mobilenets.compress")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e.quantize_pt2e", None)
    with pytest.raises(UserError, match=r"torchao.* is not installed; run: pip install \"mobilenets\[int8\]\""):
        load(int8).logits(np.zeros((1, 32, 32, 3), np.uint8))


def test_what_torchao_says_of_itself_is_not_printed(tmp_path: Path) -> None:
    """In a process of its own: it speaks when it is first imported."""
    command = [sys.executable, "-m", "mobilenets", "quantize", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1


def test_what_was_added_to_a_quantised_run_is_not_deleted(run: Path, int8: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(int8, tmp_path / "copy")
    (copy / "mine.txt").write_text("hello")
    with pytest.raises(UserError, match=r"holds mine\.txt beside the run that is quantised; choose another --out"):
        quantize(run, copy)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: is a file; --out names a folder"):
        quantize(run, tmp_path / "file" / "int8")


def test_train_leaves_a_quantised_run_alone(int8: Path, colours: Path) -> None:
    from mobilenets.api import train

    with pytest.raises(UserError, match="is a quantised run; choose another --out"):
        train(colours, model="mobilenet_v1", out=int8)


def test_the_report_says_how_it_was_made(int8: Path) -> None:
    page = (int8 / "report.html").read_text()
    assert "mobilenets quantize " in page
    assert str(int8) in page
    assert ".part" not in page


def test_evaluate_gives_the_numbers_that_quantize_gave(answer: dict[str, Any], int8: Path, colours: Path) -> None:
    again = evaluate(int8, colours)
    assert again["top1"] == answer["top1_int8"]
    kept = json.loads((int8 / "evaluation.json").read_text())
    assert kept["top1"] == answer["top1_int8"]
    assert again["confusion"] == kept["confusion"]
    assert again["loss"] == pytest.approx(kept["loss"], abs=1e-6)


def test_the_run_holds_the_float_network_too(int8: Path, run: Path, colours: Path) -> None:
    before, after = load(run).network.state_dict(), load(int8).network.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert json.loads((int8 / QUANTISATION).read_text())["layers"]


def test_its_export_is_int8_and_computes_what_was_measured(int8: Path, colours: Path, tmp_path: Path) -> None:
    said = export(int8, tmp_path / "bundle", ["onnx"])
    assert [row["precision"] for row in said["files"]] == ["float32", "int8"]
    images = np.random.default_rng(3).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    expected = load(int8).logits(images)
    found = runtime("onnx").open(tmp_path / "bundle" / said["files"][1]["path"], 1).run(images)
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()  # torch rounds the logits too
    assert verify(tmp_path / "bundle", colours)["ok"] is True


def test_exported_twice_it_gives_the_same_bytes(int8: Path, tmp_path: Path) -> None:
    one, two = (export(int8, tmp_path / name, ["onnx"], ["int8"])["files"] for name in ("one", "two"))
    assert [row["sha256"] for row in one] == [row["sha256"] for row in two]


def test_the_same_again_gives_the_same_table(answer: dict[str, Any], run: Path, int8: Path, tmp_path: Path) -> None:
    again = quantize(run, tmp_path / "again")
    assert (tmp_path / "again" / TABLE).read_bytes() == (int8 / TABLE).read_bytes()
    timed = ("run", "tried")
    assert {k: v for k, v in again.items() if k not in timed} == {k: v for k, v in answer.items() if k not in timed}


def test_layers_can_be_kept_in_float(run: Path, tmp_path: Path) -> None:
    said = quantize(run, tmp_path / "int8", keep_float=["head.classifier", "blocks.0.conv"])
    assert said["repair"]["in_float"] == ("blocks.0.conv", "head.classifier")
    assert said["int8_macs"] < 1
    (row,) = export(tmp_path / "int8", tmp_path / "bundle", ["onnx"], ["int8"])["files"]
    stored = runtime("onnx").stored
    assert stored is not None
    assert stored(tmp_path / "bundle" / row["path"])["float32"] > 0


def test_an_impossible_bound_is_no_and_all_was_tried(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mobilenets.compress import adviser

    for name in ("_is_within", "_is_sure"):
        monkeypatch.setattr(adviser.Adviser, name, lambda self, tried: False)
    said = quantize(run, tmp_path / "int8")
    assert said["ok"] is False
    words = [row["words"] for row in said["tried"]]
    assert words[:5] == [f"{name} ranges" for name in ("min-max", "moving-average", "percentile", "mse", "entropy")]
    assert any("adapted rounding" in each for each in words)
    assert any("in float" in each for each in words)
    assert (tmp_path / "int8" / TABLE).is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_drop": 2}, "max drop 2 is out of range: allowed is 0 to 1"),
        ({"minutes": 0}, "minutes 0 is out of range: allowed is above 0"),
        ({"calibration": "best"}, "unknown calibration 'best'; allowed: min-max"),
        ({"calibration_images": 2}, "calibration images 2 is out of range: allowed is 8 or more"),
        ({"target": "ncnn"}, "target ncnn: its int8 cannot be measured here"),
        ({"target": "toaster"}, "unknown runtime 'toaster'; allowed: onnx"),
        ({"keep_float": ["head.classifer"]}, "no layer 'head.classifer' in .*; did you mean head.classifier"),
    ],
)
def test_what_cannot_be_is_one_line(run: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        quantize(run, tmp_path / "int8", **options)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "int8").exists()


def test_a_quantised_network_is_not_quantised_again(int8: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is quantised already; give the run that it was made from"):
        quantize(int8, tmp_path / "again")


def test_a_quantised_run_is_not_calibrated_anew(int8: Path, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is quantised already, --data .* would calibrate it anew: leave it out"):
        export(int8, tmp_path / "bundle", ["onnx"], data=colours)


def test_a_bundle_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quantize takes a run or published weights with classes"):
        quantize(exported, tmp_path / "int8")


def test_other_folders_are_left_alone(run: Path, int8: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a run that is not quantised; choose another --out"):
        quantize(run, run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("hello")
    with pytest.raises(UserError, match="is not empty and not a run; choose another --out"):
        quantize(run, tmp_path / "mine")


def test_an_empty_set_and_other_classes_are_told(run: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        quantize(run, tmp_path / "int8", tmp_path / "empty")
    other = shutil.copytree(colours, tmp_path / "other")
    for split in ("train", "val"):
        (other / split / "amber").rename(other / split / "zebra")
    said = quantize(run, tmp_path / "int8", other)
    assert said["top1_int8"] is None
    assert said["agreement"] > 0.9


def test_a_damaged_table_is_one_line(int8: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(int8, tmp_path / "copy")
    table = copy / TABLE
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"int8\.safetensors: not a whole checkpoint"):
        load(copy).logits(np.zeros((1, 32, 32, 3), np.uint8))


# Trained as it rounds ---------------------------------------------------------------------------------------------


def test_qat_is_tried_and_kept_where_it_is_better(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = quantize(run, tmp_path / "int8", qat=True, qat_epochs=2)
    trained = [row for row in found["tried"] if row["repair"]["trained"]]
    assert len(trained) == 1
    assert trained[0] is found["tried"][-1]
    assert trained[0]["words"].endswith("trained")
    best = max(found["tried"], key=lambda row: row["sqnr_db"])
    assert found["selection"]["sqnr_db"] >= best["sqnr_db"] - 0.1
    assert "divergence from float" in " ".join(capsys.readouterr().err.split())
    kept = json.loads((tmp_path / "int8" / QUANTISATION).read_text())
    assert (kept["arguments"]["qat"], kept["arguments"]["qat_epochs"]) == (True, 2)
    if found["repair"]["trained"]:
        assert evaluate(tmp_path / "int8", found["data"])["top1"] == found["top1_int8"]


def test_qat_epochs_alone_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="qat epochs 3 goes with --qat"):
        quantize(run, tmp_path / "int8", qat_epochs=3)
    with pytest.raises(UserError, match="qat epochs 0 is out of range"):
        quantize(run, tmp_path / "int8", qat=True, qat_epochs=0)


def test_qat_needs_images_that_only_train(run: Path, colours: Path, tmp_path: Path) -> None:
    """Twelve classes of three pictures: none can be held out."""
    pictures = sorted((colours / "train").rglob("*.png"))
    for number in range(12):
        folder = tmp_path / "few" / f"class{number:02d}"
        folder.mkdir(parents=True)
        for picture in pictures[3 * number : 3 * number + 3]:
            shutil.copy(picture, folder)
    assert not roles(open_dataset(tmp_path / "few")).report
    with pytest.raises(UserError, match="qat needs some that only train"):
        quantize(run, tmp_path / "int8", tmp_path / "few", qat=True)


# Another activation -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def swishing(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run with hard-swish in it."""
    folder = tmp_path_factory.mktemp("swishing") / "run"
    train(
        colours,
        model="mobilenet_v3_small",
        width=0.35,
        resolution=32,
        epochs=6,
        batch_size=8,
        lr=0.004,
        out=folder,
        threads=1,
    )
    return folder


@pytest.mark.slow
def test_swapped_activations(swishing: Path, tmp_path: Path) -> None:
    found = quantize(swishing, tmp_path / "int8", swap="relu6", max_drop=1.0)
    made = load(tmp_path / "int8")
    assert {block.act for block in made.spec.blocks} == {"relu", "relu6"}
    assert made.spec.head.act == "relu6"
    assert found["swap"] == "relu6"
    assert found["top1_float"] == evaluate(swishing, found["data"])["top1"]  # of the network as it was
    assert evaluate(tmp_path / "int8", found["data"])["top1"] == found["top1_int8"]
    assert any(row["layer"] == "head.hidden" for row in found["layers"])
    assert export(tmp_path / "int8", tmp_path / "bundle", ["onnx"], ["int8"])["files"][0]["precision"] == "int8"


def test_what_cannot_be_swapped_is_one_line(run: Path, swishing: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mobilenet_v1_shallow_025 has no hard_swish to replace"):
        quantize(run, tmp_path / "int8", swap="relu6")
    with pytest.raises(UserError, match="unknown swap 'gelu'; allowed: relu6, relu"):
        quantize(swishing, tmp_path / "int8", swap="gelu")
