"""`export --to auto`: what it tries, what it keeps, and what it says of the rest."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from faults import MODEL

from mobilenets.deploy import auto, runtimes
from mobilenets.deploy import bench as bench_module
from mobilenets.deploy import export as export_module
from mobilenets.deploy.bundle import open_bundle
from mobilenets.deploy.export import export
from mobilenets.deploy.runtimes import Runtime, runtime
from mobilenets.errors import UserError

Figures = dict[tuple[str, str], float]


@pytest.fixture
def several(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Figures:
    """onnx under three names, one of which cannot be written; the milliseconds that `bench` finds may be changed."""

    def write(module: object, folder: Path, *_: object) -> tuple[Path, dict[str, Any]]:
        return Path(shutil.copy(exported / MODEL, folder)), {"opset": 18}  # of the same Run

    onnx = dataclasses.replace(runtime("onnx"), write=write)
    found = {name: dataclasses.replace(onnx, name=name) for name in ("onnx", "second", "third")}

    def missing(*_: object) -> Any:
        raise UserError('writer is not installed; run: pip install "mobilenets[third]"')

    found["third"] = dataclasses.replace(found["third"], write=missing)
    figures: Figures = {("onnx", "float32"): 5.0, ("second", "float32"): 4.0}

    def named(name: str) -> Runtime:
        return found[name]

    def measured(bundle: Path, **_: object) -> dict[str, Any]:
        rows = []
        for model in open_bundle(bundle).models:
            ms = figures[model.runtime, model.precision]
            row = {key: getattr(model, key) for key in ("runtime", "precision", "path", "size_mb")}
            rows.append(row | {"threads": 1, "median_ms": ms, "average_ms": ms, "spread": 0.0})
        return {"files": bench_module.ranked(rows), "machine": {"cpu": "a", "cores": 1, "system": "b", "python": "3"}}

    for module in (auto, export_module, bench_module):
        monkeypatch.setattr(module, "runtime", named)
    for module in (auto, runtimes):
        monkeypatch.setattr(module, "RUNTIMES", {**dict.fromkeys(found, ""), "elsewhere": ""})
    monkeypatch.setattr(auto, "why_not", lambda name: "it runs on macOS alone" if name == "elsewhere" else None)
    monkeypatch.setattr(auto, "bench", measured)
    return figures


def test_the_fastest_is_kept_and_all_are_listed(
    run: Path, several: Figures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = export(run, tmp_path / "bundle", ["auto"])
    assert found["auto"]["chosen"] == "second/float32/model.onnx"
    assert [row["path"] for row in found["files"]] == ["second/float32/model.onnx"]
    tried = [(row["runtime"], row["median_ms"], row["ratio"]) for row in found["auto"]["tried"]]
    assert tried == [("second", 4.0, 1.0), ("onnx", 5.0, 1.25)]
    assert all(row["max_abs_error"] < 1e-3 for row in found["auto"]["tried"])
    assert found["auto"]["not_tried"] == [
        {"runtime": "elsewhere", "precision": None, "reason": "it runs on macOS alone"},
        {
            "runtime": "third",
            "precision": "float32",
            "reason": 'writer is not installed; run: pip install "mobilenets[third]"',
        },
    ]
    said = capsys.readouterr().err
    assert "elsewhere: not tried, it runs on macOS alone" in said
    assert 'third float32: left out, writer is not installed; run: pip install "mobilenets[third]"' in said
    bundle = open_bundle(tmp_path / "bundle")
    assert [model.path for model in bundle.models] == ["second/float32/model.onnx"]
    assert bundle.measured()["auto"] == found["auto"]
    several["onnx", "float32"] = 3.0
    assert export(run, tmp_path / "bundle", ["auto"])["auto"]["chosen"] == "onnx/float32/model.onnx"


def test_the_bundle_is_the_one_that_naming_the_runtime_gives(run: Path, several: Figures, tmp_path: Path) -> None:
    export(run, tmp_path / "auto", ["auto"])
    export(run, tmp_path / "named", ["second"])
    manifests = [json.loads((tmp_path / name / "bundle.json").read_text()) for name in ("auto", "named")]
    assert manifests[0] == manifests[1]


def test_runtimes_that_are_named_beside_it_are_kept_too(run: Path, several: Figures, tmp_path: Path) -> None:
    found = export(run, tmp_path / "bundle", ["auto", "onnx"])
    assert [row["runtime"] for row in found["files"]] == ["second", "onnx"]


def test_where_nothing_can_be_tried_it_says_why(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "why_not", lambda _: 'x is not installed; run: pip install "mobilenets[x]"')
    with pytest.raises(
        UserError, match=r'no runtime runs here: x is not installed; run: pip install "mobilenets\[x\]"'
    ):
        export(run, tmp_path / "bundle", ["auto"])
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_it_picks_the_fastest_of_all_or_nearly(run: Path, tmp_path: Path) -> None:
    found = export(run, tmp_path / "bundle", ["auto"])
    rows = found["auto"]["tried"]
    (chosen,) = [row for row in rows if row["path"] == found["auto"]["chosen"]]
    assert chosen["median_ms"] <= 1.1 * min(row["median_ms"] for row in rows)
    assert found["files"][0]["path"] == chosen["path"]
    assert open_bundle(tmp_path / "bundle").models[0].path == chosen["path"]
