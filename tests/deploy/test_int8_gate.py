"""The parity gate on int8 files: green for what `export` writes, red for what goes wrong with quantised files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from faults import INT8, MODEL, edit_model, per_tensor, replace_file

from mobilenets.deploy.export import export
from mobilenets.deploy.verify import verify

pytestmark = pytest.mark.slow

OPENVINO = "openvino/{}/model.xml"


@pytest.fixture(scope="module")
def both(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle with float32 and int8 of two runtimes, calibrated with the Run's own pictures. Not to be changed."""
    folder = tmp_path_factory.mktemp("both") / "bundle"
    export(run, folder, ("onnx", "openvino"), int8=True)
    return folder


@pytest.fixture
def copy(both: Path, tmp_path: Path) -> Path:
    return shutil.copytree(both, tmp_path / "bundle")


def rows_of(bundle: Path, colours: Path) -> dict[str, dict[str, Any]]:
    """What the gate says of each file."""
    found = verify(bundle, colours)
    assert found["ok"] == all(row["ok"] for row in found["files"])
    return {row["path"]: row for row in found["files"]}


def test_the_exported_files_pass(both: Path, colours: Path) -> None:
    rows = rows_of(both, colours)
    assert rows.keys() == {MODEL, INT8, OPENVINO.format("float32"), OPENVINO.format("int8")}
    assert all(row["ok"] for row in rows.values()), [row["reasons"] for row in rows.values()]
    assert all(row["stored"] > 0.9 for row in rows.values())
    assert rows[INT8]["thresholds"]["max_relative_error"] is None
    assert rows[INT8]["max_relative_error"] > rows[MODEL]["max_relative_error"]
    assert (both / INT8).stat().st_size < 0.45 * (both / MODEL).stat().st_size


def test_a_per_tensor_collapse_fails(copy: Path, colours: Path) -> None:
    edit_model(copy, per_tensor, INT8)
    rows = rows_of(copy, colours)
    assert [path for path, row in rows.items() if not row["ok"]] == [INT8]
    assert any("it agrees with the network on 0." in reason for reason in rows[INT8]["reasons"])
    assert any("points of top-1, more than 1" in reason for reason in rows[INT8]["reasons"])
    assert max(each["drop"] for each in rows[INT8]["classes"]) > 0.3


def test_a_float_file_called_int8_fails(copy: Path, colours: Path) -> None:
    replace_file(copy, INT8, (copy / MODEL).read_bytes())
    for part in ("model.xml", "model.bin"):
        replace_file(copy, f"openvino/int8/{part}", (copy / "openvino/float32" / part).read_bytes())
    rows = rows_of(copy, colours)
    for path in (INT8, OPENVINO.format("int8")):
        assert rows[path]["agreement"] == 1.0
        assert rows[path]["reasons"] == ["it is called int8, but holds 0% of its weights so"]


def test_an_int8_file_called_float32_fails(copy: Path, colours: Path) -> None:
    replace_file(copy, MODEL, (copy / INT8).read_bytes())
    rows = rows_of(copy, colours)
    assert any(reason.startswith("it is called float32, but holds ") for reason in rows[MODEL]["reasons"])
    assert any(reason.startswith("a logit is off by ") for reason in rows[MODEL]["reasons"])
    assert rows[INT8]["ok"]


def test_a_truncated_int8_file_fails_by_name(copy: Path, colours: Path) -> None:
    replace_file(copy, INT8, (copy / INT8).read_bytes()[:-1000])
    rows = rows_of(copy, colours)
    assert "not a model that onnxruntime opens" in rows[INT8]["reasons"][0]
    assert rows[MODEL]["ok"]
