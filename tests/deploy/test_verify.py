"""The parity gate: green for the file that was exported, red for every way of getting it wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from faults import (
    MODEL,
    bgr,
    edit_model,
    not_a_number,
    other_sides,
    other_weights,
    replace_file,
    same_padding,
    swapped_classes,
    zero_to_one,
)

from mobilenets.deploy.gates import gate_of
from mobilenets.deploy.runtimes.onnx import ONNX
from mobilenets.deploy.verify import verify
from mobilenets.errors import UserError


def test_the_exported_file_passes(bundle: Path, colours: Path) -> None:
    found = verify(bundle, colours)
    (row,) = found["files"]
    assert found["ok"]
    assert row["ok"]
    assert found["images"] == 120
    assert row["agreement"] == 1.0
    assert row["max_relative_error"] < 1e-4
    assert row["p999_relative_error"] <= row["max_relative_error"]
    assert row["top1"] == found["network"]["top1"]
    assert row["drop"] == 0.0
    assert row["top1_interval"][0] <= row["top1"] <= row["top1_interval"][1]
    json.dumps(found, allow_nan=False)


def test_the_result_is_stored_outside_the_hashes(bundle: Path, colours: Path) -> None:
    before = (bundle / "bundle.json").read_bytes()
    found = verify(bundle, colours)
    assert (bundle / "bundle.json").read_bytes() == before
    measured = json.loads((bundle / "measured.json").read_text())
    assert measured["verify"]["files"] == found["files"]
    assert str(colours.parent) not in json.dumps(measured)
    assert "120 images (val)" in (bundle / "MODEL_CARD.md").read_text()
    assert verify(bundle, colours)["ok"]


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        (bgr, "it agrees with the network on 0"),
        (zero_to_one, "it agrees with the network on 0"),
        (swapped_classes, "it agrees with the network on 0"),
        (same_padding, "a logit is off by"),
        (other_weights, "a logit is off by"),
        (not_a_number, "logits that are not finite"),
        (other_sides, "onnx/float32/model.onnx cannot be run: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_file_fails(bundle: Path, colours: Path, sabotage: Callable[[Any], None], reason: str) -> None:
    edit_model(bundle, sabotage)
    found = verify(bundle, colours)
    (row,) = found["files"]
    assert not found["ok"]
    assert row["ok"] is False
    assert any(reason in each for each in row["reasons"])
    json.dumps(found, allow_nan=False)
    assert "failed" in (bundle / "MODEL_CARD.md").read_text()


def test_a_sabotage_that_changes_nothing_passes(bundle: Path, colours: Path) -> None:
    edit_model(bundle, lambda graph: None)
    assert verify(bundle, colours)["ok"]


@pytest.mark.parametrize("fault", ["stale", "truncated", "missing"])
def test_a_file_that_is_not_the_exported_one_fails_by_name(bundle: Path, colours: Path, fault: str) -> None:
    model = onnx.load(bundle / MODEL)
    other_weights(model.graph)
    if fault == "missing":
        (bundle / MODEL).unlink()
    else:
        data = model.SerializeToString()
        (bundle / MODEL).write_bytes(data if fault == "stale" else data[:-1000])
    found = verify(bundle, colours)
    (row,) = found["files"]
    assert not found["ok"]
    assert row["agreement"] is None
    assert MODEL in row["reasons"][0]


def test_a_truncated_file_with_its_hash_fails_by_name(bundle: Path, colours: Path) -> None:
    replace_file(bundle, MODEL, (bundle / MODEL).read_bytes()[:-1000])
    (row,) = verify(bundle, colours)["files"]
    assert not row["ok"]
    assert "not a model that onnxruntime opens" in row["reasons"][0]


def test_other_altered_files_fail_too(bundle: Path, colours: Path) -> None:
    (bundle / "golden" / "1.png").write_bytes(b"")
    found = verify(bundle, colours)
    assert not found["ok"]
    assert found["files"][0]["ok"]
    assert "golden/1.png" in found["reasons"][0]
    (bundle / "network" / "weights.safetensors").write_bytes(b"gone")
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        verify(bundle, colours)


def test_a_hundred_images_are_needed(bundle: Path, colours: Path) -> None:
    found = verify(bundle, colours, images=99)
    assert not found["ok"]
    assert found["images"] == 99
    assert found["files"][0]["ok"]
    assert found["reasons"] == ["not enough images: 99, at least 100 are needed"]


def test_thresholds_are_the_users(bundle: Path, colours: Path) -> None:
    found = verify(bundle, colours, max_relative_error=0.0)
    assert not found["ok"]
    assert "of the largest one, more than 0" in found["files"][0]["reasons"][0]
    assert found["files"][0]["thresholds"]["max_relative_error"] == 0.0
    edit_model(bundle, other_weights)
    assert verify(bundle, colours, min_agreement=0.0, max_relative_error=10.0)["ok"]


def test_images_of_other_classes_test_parity_alone(
    bundle: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(colours / "val", tmp_path / "data")
    (data / "amber").rename(data / "violet")
    found = verify(bundle, data)
    assert found["ok"]
    assert found["files"][0]["top1"] is None
    assert found["files"][0]["agreement"] == 1.0
    assert "no accuracy" in capsys.readouterr().err


def test_only_bundles_are_verified(run: Path, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no bundle, it has no bundle\.json"):
        verify(run, colours)
    with pytest.raises(UserError, match="no such bundle"):
        verify(tmp_path / "nowhere", colours)


def test_a_bundle_that_cannot_be_written_is_verified_all_the_same(
    bundle: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mobilenets.deploy.bundle.write_json", read_only)
    assert verify(bundle, colours)["ok"]
    assert "was not stored (Read-only file system)" in capsys.readouterr().err


def test_what_a_class_loses_is_said(bundle: Path, colours: Path) -> None:
    edit_model(bundle, swapped_classes)
    (row,) = verify(bundle, colours)["files"]
    drops = {each["class"]: each["drop"] for each in row["classes"]}
    assert drops["amber"] > 0.5
    assert drops["blue"] > 0.5
    assert abs(drops["cyan"]) < 0.2
    assert [each["drop"] for each in row["classes"]] == sorted(drops.values(), reverse=True)
    assert row["drop"] == pytest.approx(sum(drops.values()) / 3)
    assert all(each["drop"] == each["network"] - each["file"] for each in row["classes"])
    assert sum(each["images"] for each in row["classes"]) == 120


def test_lost_accuracy_alone_fails(bundle: Path, colours: Path) -> None:
    edit_model(bundle, swapped_classes)
    found = verify(bundle, colours, min_agreement=0.0, max_relative_error=100.0, max_drop=0.05)
    (reason,) = found["files"][0]["reasons"]
    assert "points of top-1, more than 5" in reason
    assert verify(bundle, colours, min_agreement=0.0, max_relative_error=100.0, max_drop=1.0)["ok"]


@pytest.mark.parametrize(
    ("precision", "agreement", "relative", "drop"),
    [
        ("float32", 0.995, 1e-3, None),
        ("float16", 0.99, 2e-2, None),
        ("bfloat16", 0.99, 2e-2, None),
        ("weights8", 0.97, None, 0.01),
        ("int8", 0.95, None, 0.01),
    ],
)
def test_each_precision_has_its_bounds(
    precision: str, agreement: float, relative: float | None, drop: float | None
) -> None:
    gate = gate_of(precision)
    assert (gate.agreement, gate.max_relative_error, gate.max_drop) == (agreement, relative, drop)
    given = gate_of(precision, 0.5, 0.25, 0.125)
    assert (given.agreement, given.max_relative_error, given.max_drop) == (0.5, 0.25, 0.125)
    assert given.stored == gate.stored


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"agreement": 95.0}, "min agreement 95 is out of range: allowed is 0 to 1"),
        ({"max_relative_error": -1.0}, "max relative error -1 is out of range: allowed is 0 or more"),
        ({"max_drop": float("nan")}, "max drop nan is out of range: allowed is 0 to 1"),
    ],
)
def test_bounds_out_of_range(bounds: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        gate_of("float32", **bounds)
    with pytest.raises(UserError, match="no thresholds for precision 'int4'; known: float32"):
        gate_of("int4")


def test_a_file_of_a_runtime_that_is_elsewhere_decides_nothing_but_must_be_whole(
    bundle: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = dataclasses.replace(ONNX, elsewhere=lambda: "it runs on macOS alone")
    monkeypatch.setattr("mobilenets.deploy.runtimes.onnx.ONNX", elsewhere)
    found = verify(bundle, colours)
    (row,) = found["files"]
    assert (row["ok"], row["agreement"], row["reasons"]) == (None, None, ["it runs on macOS alone"])
    assert not found["ok"]  # nothing was run, so nothing was proved
    assert "not run: it runs on macOS alone" in (bundle / "MODEL_CARD.md").read_text()
    (bundle / MODEL).write_bytes(b"stale")
    (row,) = verify(bundle, colours)["files"]
    assert row["ok"] is False
    assert MODEL in row["reasons"][0]


@pytest.mark.parametrize(("share", "ok"), [(0.95, True), (0.5, False)])
def test_a_file_holds_its_weights_in_the_type_of_its_name(
    bundle: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, share: float, ok: bool
) -> None:
    counts = {"float32": round(1000 * share), "int8": round(1000 * (1 - share))}
    monkeypatch.setattr("mobilenets.deploy.runtimes.onnx.ONNX", dataclasses.replace(ONNX, stored=lambda _: counts))
    (row,) = verify(bundle, colours)["files"]
    assert row["stored"] == pytest.approx(share)
    assert row["ok"] is ok
    assert row["reasons"] == ([] if ok else ["it is called float32, but holds 50% of its weights so"])
