"""The Bundle: what export writes, that it is the same each time, all or nothing, and that a changed file is noticed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from faults import MODEL

from mobilenets.data.decode import decode_image
from mobilenets.deploy import export as export_module
from mobilenets.deploy.bundle import Bundle, is_bundle, open_bundle
from mobilenets.deploy.export import export
from mobilenets.deploy.load import bundle_network, load
from mobilenets.errors import UserError

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "bundle.json"


def manifest(bundle: Path) -> dict[str, Any]:
    found = json.loads((bundle / "bundle.json").read_text())
    assert isinstance(found, dict)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_manifest_fits_its_schema(exported: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(manifest(exported), schema, jsonschema.Draft202012Validator)


def test_the_manifest_says_where_the_network_comes_from(exported: Path, run: Path) -> None:
    found = manifest(exported)
    recipe = json.loads((run / "recipe.json").read_text())
    source = found["provenance"]["source"]
    assert source["data"]["fingerprint"] == recipe["data"]["fingerprint"]
    assert source["recipe"] == recipe["recipe"]
    assert [row["name"] for row in found["labels"]] == ["amber", "blue", "cyan"]
    assert found["spec"] == json.loads((run / "spec.json").read_text())
    assert {"mobilenets", "torch", "onnx", "onnxruntime"} <= found["provenance"]["versions"].keys()


def test_the_manifest_holds_no_path_and_no_time(exported: Path, run: Path, colours: Path) -> None:
    text = (exported / "bundle.json").read_text()
    for word in (str(run), str(colours), run.parent.name, "started", "202"):
        assert word not in text.replace("2020-12", "")


def test_every_file_is_listed_but_those_that_change(exported: Path) -> None:
    files = set(contents(exported)) - {"bundle.json", "measured.json", "MODEL_CARD.md"}
    assert files == set(manifest(exported)["files"])


def test_the_same_run_gives_the_same_bytes_and_no_noise(
    exported: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(run, "again")
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == [str(run), f"again/{MODEL}"]
    assert contents(tmp_path / "again") == contents(exported) | {
        name: (tmp_path / "again" / name).read_bytes() for name in ("measured.json", "MODEL_CARD.md")
    }
    (row,) = result["files"]
    assert result["bundle"] == "again"
    assert row["sha256"] == manifest(exported)["models"][0]["sha256"]
    assert row["size_mb"] == (exported / MODEL).stat().st_size / 1e6
    assert 0 <= row["max_abs_error"] < 1e-4


def test_golden_images_are_inputs_of_the_reported_split(exported: Path, colours: Path) -> None:
    found = manifest(exported)["golden"]
    expected = json.loads((exported / found["expected"]).read_text())["images"]
    assert found["source"] == "data"
    assert [row["label"] for row in expected] == ["amber", "blue", "cyan"]
    loaded = load(exported / MODEL)
    for row in expected:
        image = decode_image((exported / row["file"]).read_bytes())
        assert image.shape == (32, 32, 3)
        logits = loaded.logits(image[None])[0]
        np.testing.assert_allclose(logits, row["logits"], atol=1e-4)
        assert row["predicted"] == loaded.names[int(logits.argmax())]


def test_the_reference_weights_are_the_runs(exported: Path, run: Path) -> None:
    ours = bundle_network(open_bundle(exported)).state_dict()
    theirs = load(run).network.state_dict()
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in theirs)


def test_a_bundle_exports_to_itself_again(exported: Path, tmp_path: Path) -> None:
    export(exported, tmp_path / "copy")
    first, second = manifest(exported), manifest(tmp_path / "copy")
    assert first["models"] == second["models"]
    assert first["provenance"] == second["provenance"]
    assert second["golden"]["source"] == "drawn"


def test_a_file_that_computes_something_else_is_never_given_a_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(export_module.TorchSession):
        def run(self, images: np.ndarray) -> np.ndarray:
            return super().run(images)[:, ::-1]

    monkeypatch.setattr(export_module, "TorchSession", Wrong)
    with pytest.raises(RuntimeError, match="differ by"):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def quick(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export without the exporter: what is tested around it needs no new file."""

    def fill(folder: Path, *_: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        shutil.copytree(exported, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.json", "*.md"))
        row = {"path": MODEL, "max_abs_error": 0.0, "size_mb": 1.0}
        return {key: value for key, value in manifest(exported).items() if key != "files"}, [row]

    monkeypatch.setattr(export_module, "_fill", fill)


@pytest.mark.usefixtures("quick")
def test_a_bundle_is_replaced_as_a_whole(run: Path, bundle: Path) -> None:
    (bundle / "stray.txt").write_text("old")
    export(run, bundle)
    assert not (bundle / "stray.txt").exists()
    assert is_bundle(bundle)
    assert [entry.name for entry in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick")
def test_the_old_bundle_stays_when_export_fails(run: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(bundle)
    monkeypatch.setattr(export_module, "_write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        export(run, bundle)
    assert contents(bundle) == before
    assert [entry.name for entry in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick")
def test_an_empty_folder_is_taken_and_others_are_not(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty")
    assert is_bundle(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and no bundle"):
        export(run, tmp_path / "full")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="is a file"):
        export(run, tmp_path / "file")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "years of work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be_written_is_said_at_once(run: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match="Permission denied"):
        export(run, tmp_path / "locked" / "bundle")


@pytest.mark.parametrize("to", [("tensorrt",), ()])
def test_unknown_runtimes_are_refused(run: Path, tmp_path: Path, to: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="allowed: onnx"):
        export(run, tmp_path / "out", to)


def test_a_whole_bundle_opens(bundle: Path) -> None:
    found = open_bundle(bundle)
    assert isinstance(found, Bundle)
    assert found.spec.head.classes == 3
    assert found.models[0].path == MODEL


@pytest.mark.parametrize("name", [MODEL, "network/weights.safetensors", "golden/0.png", "example_onnx.py"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "altered"])
def test_a_file_that_is_not_as_exported_is_named(bundle: Path, name: str, fault: str) -> None:
    data = (bundle / name).read_bytes()
    if fault == "missing":
        (bundle / name).unlink()
    else:
        (bundle / name).write_bytes(data[:-7] if fault == "truncated" else data[:-7] + b"changed")
    words = {"missing": "is missing", "truncated": "truncated", "altered": "not the file that was exported"}[fault]
    with pytest.raises(UserError, match=rf"{name}.*{words}"):
        open_bundle(bundle)
    assert open_bundle(bundle, check=False).problem(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "bundle format 2; this version reads format 1"),
        ({"kind": "zip"}, "not the manifest of a bundle"),
        ({"labels": [{"name": "one"}]}, "1 labels for a network with 3 outputs"),
        ({"models": []}, "lists no model file"),
        ({"models": [{}]}, "not a whole manifest"),
        ({"files": {}}, "states no sha256 for network/weights.safetensors"),
        ({"files": {"../../secret": {"bytes": 1, "sha256": "0" * 64}}}, "lies outside the bundle"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(bundle: Path, change: dict[str, Any], words: str) -> None:
    (bundle / "bundle.json").write_text(json.dumps(manifest(bundle) | change))
    with pytest.raises(UserError, match=words):
        open_bundle(bundle)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bundle folder"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"it has no bundle\.json"):
        open_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        open_bundle(tmp_path)
    assert not is_bundle(tmp_path)
