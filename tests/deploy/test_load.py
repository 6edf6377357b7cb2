"""The one loader: what it takes, what it says it took, and the one line for everything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import MODEL
from lively import pictures

from mobilenets.deploy.load import load
from mobilenets.errors import UserError


def test_a_run_a_bundle_and_its_file_answer_alike(
    run: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [load(run), load(str(exported)), load(exported / MODEL), load(exported / "bundle.json")]
    lines = capsys.readouterr().err.splitlines()
    assert [each.kind for each in found] == ["run", "bundle", "file", "bundle"]
    assert lines[0] == f"{run}: a run, mobilenet_v1_shallow_025 at 32 px, 3 classes"
    assert lines[1] == f"{exported}: onnx float32 of a bundle, mobilenet_v1_shallow_025 at 32 px, 3 classes"
    images = pictures(4, 32)
    for each in found:
        np.testing.assert_allclose(each.logits(images), found[0].logits(images), atol=1e-4)
        assert each.names == ["amber", "blue", "cyan"]
        assert each.spec == found[0].spec
        assert each.source == found[0].source
        assert each.logits(images).dtype == np.float32


def test_a_relative_file_finds_its_bundle(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported / "onnx")
    assert load("float32/model.onnx").kind == "file"


def test_an_architecture_has_random_weights(capsys: pytest.CaptureFixture[str]) -> None:
    found = load("mobilenet_v1_025", random=True)
    assert found.kind == "architecture"
    assert len(found.labels) == 1000
    assert "weights are random" in capsys.readouterr().err
    again = load("mobilenet_v1_025", random=True)
    first, second = (next(iter(each.network.parameters())) for each in (found, again))
    assert first.equal(second)
    with pytest.raises(UserError, match="random weights"):
        load("mobilenet_v1_025")


def test_a_near_miss_is_named(run: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean mobilenet_v2"):
        load("mobilenetv2")
    with pytest.raises(UserError, match=rf"no such file or folder; is '{run}' meant\?"):
        load(f"{run}s")
    with pytest.raises(UserError, match=rf"neither a run .* nor a bundle .*is '{run}' meant\?"):
        load(run.parent)


def test_what_is_no_network_is_refused_in_one_line(run: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"stray")
    notes = tmp_path / "notes.txt"
    notes.write_bytes(b"stray")
    for reference, words in {
        str(tmp_path / "folder"): "neither a run",
        str(tmp_path / "model.onnx"): "not an ONNX model",
        str(notes): "lies in no bundle and holds no weights",
        str(tmp_path / "nowhere.onnx"): "no such file or folder",
        str(run / "checkpoints" / "best.safetensors"): "give the run's folder",
        str(exported / "example_onnx.py"): f"this bundle has {MODEL}",
        "": "no network named",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            load(reference)
        assert "\n" not in str(caught.value)


def test_a_changed_bundle_is_refused(bundle: Path) -> None:
    (bundle / MODEL).write_bytes((bundle / MODEL).read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated"):
        load(bundle)


def test_a_run_without_weights_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(UserError, match="no such checkpoint"):
        load(copy)
