"""Core ML packages: structure, metadata, types and arithmetic of the graph; and commands that go on without Core ML."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from lively import lively, pictures, shortened

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec
from mobilenets.deploy.bench import bench
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.load import TorchSession, load
from mobilenets.deploy.manifest import properties
from mobilenets.deploy.predict import predict
from mobilenets.deploy.runtimes import coreml
from mobilenets.deploy.runtimes.coreml import SPEC, CoremlSession, read_spec, stored, write
from mobilenets.deploy.verify import verify
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError
from mobilenets.tasks.classify import softmax

pytest.importorskip("coremltools")
from mil import evaluate_package

pytestmark = pytest.mark.slow  # coremltools alone takes seconds to import
PACKAGE = "coreml/{}/model.mlpackage"


def assert_close_to_float32(spec: Spec, precision: str, tolerance: float, folder: Path) -> None:
    network = lively(spec)
    labels = [{"name": f"class {index}"} for index in range(spec.head.outputs)]
    path, _ = write(Shipped(network), folder, precision, properties(spec, labels))
    images = pictures(2, spec.resolution)
    expected = TorchSession(network).run(images)
    found = evaluate_package(path, images)
    assert np.abs(found["logits"] - expected).max() <= tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found["scores"], softmax(found["logits"]), atol=1e-5)
    assert found["classes"] == [row["name"] for row in labels]


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_hybrid_medium"])
def test_the_graph_computes_what_every_family_computes(name: str, tmp_path: Path) -> None:
    spec = shortened(create_spec(name, width=0.5, resolution=64, classes=5, padding="same"))
    assert_close_to_float32(spec, "float16", 2e-2, tmp_path)


@pytest.fixture(scope="module")
def packages(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Run's Bundle: Core ML in both precisions, and a torch program."""
    folder = tmp_path_factory.mktemp("coreml") / "bundle"
    export(run, folder, ["coreml", "torch"], ["float16", "int8", "float32"])
    return folder


def test_pictures_in_label_scores_and_logits_out(packages: Path) -> None:
    spec = read_spec(packages / PACKAGE.format("float16"))
    (image,) = spec.description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == ("image", 32, 32)
    assert image.type.imageType.ColorSpace.Name(image.type.imageType.colorSpace) == "RGB"
    label, scores, logits = spec.description.output
    assert (label.name, scores.name, logits.name) == ("label", "label_probs", "logits")
    assert list(logits.type.multiArrayType.shape) == [1, 3]
    assert logits.type.multiArrayType.ArrayDataType.Name(logits.type.multiArrayType.dataType) == "FLOAT32"
    assert spec.description.predictedFeatureName == "label"
    assert spec.description.predictedProbabilitiesName == "label_probs"
    assert spec.specificationVersion == 7  # iOS 16, macOS 13
    assert list(spec.mlProgram.functions["main"].block_specializations) == ["CoreML6"]


def test_metadata_say_what_the_model_is(packages: Path) -> None:
    metadata = read_spec(packages / PACKAGE.format("int8")).description.metadata
    assert metadata.author == ""
    assert metadata.shortDescription == "mobilenet_v1_shallow_025: which of 3 classes a picture shows."
    found = dict(metadata.userDefined)
    assert found["labels"] == '["amber", "blue", "cyan"]'
    assert {"mean", "std", "input", "output", "resize", "resolution"} <= found.keys()
    assert not [key for key in found if "date" in key]


def test_the_graph_computes_what_the_network_computes(packages: Path, run: Path) -> None:
    images = pictures(4, 32)
    expected = load(run).logits(images)
    for precision, tolerance in (("float16", 2e-2), ("int8", 0.1)):
        found = evaluate_package(packages / PACKAGE.format(precision), images)
        error = np.abs(found["logits"] - expected).max() / np.abs(expected).max()
        assert 0 < error < tolerance
        assert found["classes"] == ["amber", "blue", "cyan"]


def test_weights_are_stored_in_the_type_of_the_name(packages: Path) -> None:
    half = stored(packages / PACKAGE.format("float16"))
    assert list(half) == ["float16"]
    eighth = stored(packages / PACKAGE.format("int8"))
    assert sum(eighth.values()) == half["float16"]
    assert eighth["int8"] > 0.9 * half["float16"]
    sizes = [(packages / PACKAGE.format(p) / SPEC).parent / "weights/weight.bin" for p in ("float16", "int8")]
    assert sizes[1].stat().st_size < 0.65 * sizes[0].stat().st_size


def test_the_same_network_gives_the_same_bytes(packages: Path, run: Path, tmp_path: Path) -> None:
    loaded = load(run)
    path, facts = write(Shipped(loaded.network), tmp_path, "float16", properties(loaded.spec, loaded.labels))
    assert facts["minimum_deployment_target"] == "iOS 16, macOS 13"
    ours = {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    before = packages / PACKAGE.format("float16")
    assert ours == {p.relative_to(before): p.read_bytes() for p in before.rglob("*") if p.is_file()}
    assert len(ours) == 3


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is none of Apple's."""
    monkeypatch.setattr(coreml.sys, "platform", "linux")


@pytest.mark.usefixtures("away")
def test_verify_decides_without_it(packages: Path, colours: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(packages, tmp_path / "bundle")
    found = verify(bundle, colours)
    rows = {row["path"]: row for row in found["files"]}
    assert found["ok"]
    assert rows["torch/float32/model.pt2"]["ok"]
    for precision in ("float16", "int8"):
        row = rows[PACKAGE.format(precision)]
        assert row["ok"] is None
        assert row["reasons"] == ["Core ML runs on Apple's systems alone"]
    part = bundle / PACKAGE.format("int8") / SPEC
    part.write_bytes(part.read_bytes()[:-1])
    found = verify(bundle, colours)
    assert not found["ok"]
    assert "truncated" in next(row["reasons"][0] for row in found["files"] if row["precision"] == "int8")


@pytest.mark.usefixtures("away")
def test_the_next_file_answers(packages: Path, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(packages / "golden/0.png")
    (row,) = predict(packages, [picture])
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said[:2]] == ["not run here", "not run here"]
    assert "torch float32 of a bundle" in said[2]
    assert row["predictions"]
    assert evaluate(packages, colours)["top1"] > 0.5


@pytest.mark.usefixtures("away")
def test_the_package_itself_says_why_not(packages: Path, colours: Path, tmp_path: Path) -> None:
    path = packages / PACKAGE.format("float16")
    for ask in (
        lambda: predict(path, [packages / "golden/0.png"]),
        lambda: evaluate(path, colours),
        lambda: CoremlSession(path, 1),
    ):
        with pytest.raises(UserError, match=r"model\.mlpackage: not run here: Core ML runs on Apple's systems alone"):
            ask()
    with pytest.raises(UserError, match=r"no model file; this bundle has coreml/float16/model\.mlpackage, "):
        predict(packages / "golden", [packages / "golden/0.png"])


@pytest.mark.usefixtures("away")
def test_bench_measures_the_others(packages: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(packages, tmp_path / "bundle")
    found = bench(bundle, seconds=0.02, rounds=1)
    assert [row["path"] for row in found["files"]] == ["torch/float32/model.pt2"]
    assert [row["reason"] for row in found["not_run"]] == ["Core ML runs on Apple's systems alone"] * 2
    with pytest.raises(UserError, match=r"none of the files runs here: coreml/int8/model\.mlpackage: Core ML runs on"):
        bench(bundle / PACKAGE.format("int8"))


@pytest.mark.usefixtures("away")
def test_nothing_of_it_counts_as_run(packages: Path) -> None:
    measured = json.loads((packages / "measured.json").read_text())["golden"]
    assert [row["max_abs_error"] is None for row in measured] == [True, True, False]
    assert "not run here" in (packages / "MODEL_CARD.md").read_text()


def test_packages_that_are_none_are_named(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no package of Core ML, it has no Data"):
        read_spec(tmp_path)
    broken = shutil.copytree(packages / PACKAGE.format("float16"), tmp_path / "broken.mlpackage")
    (broken / SPEC).write_bytes(b"no protocol buffer")
    with pytest.raises(UserError, match=r"broken\.mlpackage: not a package of Core ML"):
        read_spec(broken)
    (broken / SPEC).write_bytes(b"")
    with pytest.raises(UserError, match="takes and gives"):
        read_spec(broken)
