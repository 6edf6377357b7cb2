"""The parity gate: green for the file that was exported, red for every way of getting it wrong."""

from __future__ import annotations

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
    other_weights,
    replace_file,
    same_padding,
    swapped_classes,
    zero_to_one,
)

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
    "sabotage", [bgr, zero_to_one, swapped_classes, same_padding, other_weights, not_a_number], ids=lambda f: f.__name__
)
def test_a_wrong_file_fails(bundle: Path, colours: Path, sabotage: Callable[[Any], None]) -> None:
    edit_model(bundle, sabotage)
    found = verify(bundle, colours)
    (row,) = found["files"]
    assert not found["ok"]
    assert not row["ok"]
    assert row["reasons"]
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
