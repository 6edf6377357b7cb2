"""The parity gate on an int8 file: green for what `export` writes, red for what goes wrong with quantised files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faults import INT8, MODEL, edit_model, per_tensor, replace_file

from mobilenets.deploy.export import export
from mobilenets.deploy.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle with a float32 and an int8 file, calibrated with the Run's own training images. Not to be changed."""
    folder = tmp_path_factory.mktemp("both") / "bundle"
    export(run, folder, ("onnx",), ("float32", "int8"))
    return folder


@pytest.fixture
def copy(both: Path, tmp_path: Path) -> Path:
    return shutil.copytree(both, tmp_path / "bundle")


def test_the_exported_files_pass(both: Path, colours: Path) -> None:
    found = verify(both, colours)
    assert found["ok"]
    rows = {row["precision"]: row for row in found["files"]}
    assert rows["int8"]["stored"] > 0.9
    assert rows["float32"]["stored"] > 0.9
    assert rows["int8"]["thresholds"]["max_relative_error"] is None
    assert rows["int8"]["max_relative_error"] > rows["float32"]["max_relative_error"]


def test_a_per_tensor_collapse_fails(copy: Path, colours: Path) -> None:
    edit_model(copy, per_tensor, INT8)
    found = verify(copy, colours)
    rows = {row["precision"]: row for row in found["files"]}
    assert not found["ok"]
    assert rows["float32"]["ok"]
    assert rows["int8"]["ok"] is False
    assert any("it agrees with the network on 0." in reason for reason in rows["int8"]["reasons"])
    assert any("points of top-1, more than 1" in reason for reason in rows["int8"]["reasons"])
    assert max(each["drop"] for each in rows["int8"]["classes"]) > 0.3


def test_a_float_file_called_int8_fails(copy: Path, colours: Path) -> None:
    replace_file(copy, INT8, (copy / MODEL).read_bytes())
    rows = {row["precision"]: row for row in verify(copy, colours)["files"]}
    assert rows["int8"]["agreement"] == 1.0
    assert rows["int8"]["reasons"] == ["it is called int8, but holds 0% of its weights so"]


def test_an_int8_file_called_float32_fails(copy: Path, colours: Path) -> None:
    replace_file(copy, MODEL, (copy / INT8).read_bytes())
    rows = {row["precision"]: row for row in verify(copy, colours)["files"]}
    assert any(reason.startswith("it is called float32, but holds ") for reason in rows["float32"]["reasons"])
    assert any(reason.startswith("a logit is off by ") for reason in rows["float32"]["reasons"])
    assert rows["int8"]["ok"]


def test_a_truncated_int8_file_fails_by_name(copy: Path, colours: Path) -> None:
    replace_file(copy, INT8, (copy / INT8).read_bytes()[:-1000])
    rows = {row["precision"]: row for row in verify(copy, colours)["files"]}
    assert "not a model that onnxruntime opens" in rows["int8"]["reasons"][0]
    assert rows["float32"]["ok"]
