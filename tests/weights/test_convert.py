"""Published files become Runs that evaluate, export and predict; what is wrong is one line and leaves nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from graphs import graph_of, random_network

import mobilenets
from mobilenets.arch.registry import create_spec
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.load import load
from mobilenets.deploy.predict import predict
from mobilenets.errors import UserError
from mobilenets.training.run import open_run
from mobilenets.weights import convert as converting
from mobilenets.weights.convert import convert, convert_out
from mobilenets.weights.formats import Published, read_weights
from mobilenets.weights.graph import Source
from mobilenets.weights.proof import answers, network_of, pictures, prove
from mobilenets.weights.recognise import recognise
from mobilenets.weights.timm import to_timm
from mobilenets.weights.torchvision import to_torchvision


@pytest.fixture
def vww(shared: Path) -> Path:
    return shared / "weights" / "tflite" / "vww_96_mobilenet_v1_0.25" / "vww_96_float.tflite"


def test_a_tflite_file_becomes_a_run_with_proof(vww: Path, tmp_path: Path) -> None:
    result = convert(vww, tmp_path / "run", normalise="unit")
    assert result["ok"]
    assert result["recognised"]["network"] == "mobilenet_v1_025"
    assert (result["classes"], result["background"], result["resolution"]) == (2, False, 96)
    assert result["proof"]["runtime"] == "LiteRT"
    assert result["max_abs_error"] <= 1e-4 * result["proof"]["largest"]
    assert result["tensors"] == {"used": 56, "set_aside": {}}
    run = open_run(tmp_path / "run")
    assert {block.act for block in run.spec.blocks} == {"relu"}
    assert run.spec.preprocessing.std == (255.0, 255.0, 255.0)
    images = pictures(96)
    assert np.array_equal(load(tmp_path / "run").logits(images), load(tmp_path / "run").logits(images))
    assert np.abs(load(tmp_path / "run").logits(images) - answers(run.network(), images)).max() < 1e-4


def test_the_same_conversion_again_replaces_the_run_and_a_trained_run_stays(vww: Path, tmp_path: Path) -> None:
    first = convert([vww], tmp_path / "run")
    assert convert([vww], tmp_path / "run")["sha256"] == first["sha256"]
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    del recipe["imported"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match="is a run that is not imported"):
        convert([vww], tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_class_names_may_be_given(vww: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("nobody\nsomebody\n")
    convert([vww], tmp_path / "run", classes=tmp_path / "names.txt")
    assert [row["name"] for row in open_run(tmp_path / "run").labels] == ["nobody", "somebody"]
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(UserError, match="3 class names were given for a network of 2"):
        convert([vww], tmp_path / "other", classes=tmp_path / "names.txt")
    assert not (tmp_path / "other").exists()


def test_a_proof_that_fails_leaves_no_run(vww: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose padding was misread: plausible answers, but not the file's."""
    published = read_weights([vww])
    wrong = replace(published, found=replace(published.found, spec=replace(
        published.found.spec, padding="symmetric")))  # fmt: skip
    monkeypatch.setattr(converting, "read_weights", lambda *a, **k: wrong)
    result = convert([vww], tmp_path / "run")
    assert not result["ok"]
    assert result["path"] is None
    assert list(tmp_path.iterdir()) == []


def test_the_proof_notices_each_pitfall_of_importing() -> None:
    """Each of the mistakes that importers make is far outside what the proof lets pass."""
    network = random_network(create_spec("mobilenet_v1", width=0.25, padding="same", resolution=64, classes=10))
    found = recognise(Source(format="test", graph=graph_of(network)), "file.test")

    def proof_of(state: dict[str, np.ndarray]) -> bool:
        changed = replace(found, state=state)
        published = Published(paths=(), found=changed, runtime="test", reference=lambda: lambda x: answers(network, x))
        result = prove(published, network_of(changed))
        assert result is not None
        return bool(result["ok"])

    def changed(pattern: str, change: object) -> dict[str, np.ndarray]:
        return {k: change(v) if pattern in k and v.ndim == 4 else v for k, v in found.state.items()}  # type: ignore[operator]

    network.spec = found.spec
    assert proof_of(found.state)
    assert not proof_of(changed("blocks.0.conv", lambda w: w[:, ::-1].copy()))  # BGR
    assert not proof_of(changed("depthwise", lambda w: w.transpose(0, 1, 3, 2).copy()))  # height and width swapped
    assert not proof_of(changed("depthwise", lambda w: w.transpose(2, 3, 0, 1).reshape(w.shape)))  # reshaped
    assert not proof_of(changed("", lambda w: w + 0.01))  # a zero point that is off


def test_a_backbone_is_taken_out_of_a_detector(shared: Path, tmp_path: Path) -> None:
    folder = shared / "weights" / "caffe" / "retinaface_mnet25"
    with pytest.raises(UserError, match="--backbone` takes the blocks alone"):
        convert([folder / "mnet25.prototxt"], tmp_path / "run")
    result = convert([folder / "mnet25.caffemodel"], tmp_path / "run", backbone=True)
    assert result["recognised"]["network"] == "mobilenet_v1_025"
    assert result["classes"] == 0
    assert len(result["tensors"]["set_aside"]) > 100
    assert [row["name"] for row in result["sources"]] == ["mnet25.prototxt", "mnet25.caffemodel"]
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / name / "1.png"), np.zeros((64, 64, 3), np.uint8))
    for use in (predict, evaluate):
        with pytest.raises(UserError, match="ends in features, so it has no classes"):
            use(tmp_path / "run", [tmp_path / "data"] if use is predict else tmp_path / "data")  # type: ignore[operator]
    network = open_run(tmp_path / "run").network()
    maps = network.features(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(value.shape[1:]) for name, value in maps.items()}["c5"] == (256, 2, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no file of weights that is known here"),
        (b"just some text, no weights", "no file of weights that is known here"),
    ],
)
def test_a_file_of_no_format_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        convert([path], tmp_path / "run")
    with pytest.raises(UserError, match=r"nowhere\.tflite: no such file or folder"):
        convert([tmp_path / "nowhere.tflite"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_in_use_is_left_alone(vww: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and not a run"):
        convert([vww], tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_a_normalisation_the_file_states_cannot_be_changed(shared: Path, tmp_path: Path) -> None:
    file = shared / "weights" / "tflite" / "vww_96_mobilenet_v1_0.25" / "vww_96_int8.tflite"
    with pytest.raises(UserError, match="contradicts the file"):
        convert([file], tmp_path / "run", normalise="imagenet")


def test_what_goes_out_needs_a_library_and_a_suffix_of_its_own(vww: Path, tmp_path: Path) -> None:
    convert([vww], tmp_path / "run")
    with pytest.raises(UserError, match="unknown library 'jax'; allowed: timm, torchvision, keras"):
        convert_out(tmp_path / "run", "jax", tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"a file for keras ends in \.keras"):
        convert_out(tmp_path / "run", "keras", tmp_path / "file.pth")


def test_a_run_of_another_file_is_not_replaced(vww: Path, tmp_path: Path) -> None:
    first = convert([vww], tmp_path / "run")
    with pytest.raises(UserError, match="is a run imported from another file"):
        convert([vww.with_name("vww_96_int8.tflite")], tmp_path / "run")
    assert convert([vww], tmp_path / "run")["sha256"] == first["sha256"]
    with pytest.raises(UserError, match="is a network of ours already"):
        convert([tmp_path / "run"], tmp_path / "other")
    with pytest.raises(UserError, match=r"is no run; `weights convert .* --out RUN` makes one"):
        convert_out(vww, "keras", tmp_path / "ours.keras")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match=r"note\.txt: is a file; --out names a folder"):
        convert([vww], tmp_path / "note.txt" / "run")


def test_an_int8_file_whose_logits_saturate_passes_and_states_its_pixels(
    vww: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = convert([vww.with_name("vww_96_int8.tflite")], tmp_path / "run")
    assert result["ok"]
    assert 0 < result["proof"]["p999"] < 0.2 * result["proof"]["largest"]
    assert "warning" not in capsys.readouterr().err


def test_a_guessed_normalisation_is_a_warning(vww: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert([vww], tmp_path / "run")
    assert "warning: the file does not say how pixels are normalised" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_what_went_out_comes_back_the_same_network(library: str, tmp_path: Path) -> None:
    """Padding, epsilon, preprocessing and class names, of which such files say nothing of their own."""
    name = "mobilenet_v2" if library == "torchvision" else "mobilenet_v1_025"
    spec = create_spec(name, profile="authors" if library == "timm" else "default", classes=3, resolution=96)
    network = random_network(spec)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    writer = to_timm if library == "timm" else to_torchvision
    writer(spec, state, tmp_path / "file.safetensors", ["a", "b", "c"])
    found = read_weights([tmp_path / "file.safetensors"]).found
    assert found.spec == spec
    assert found.labels == ("a", "b", "c")
    assert all(np.array_equal(found.state[key], state[key]) for key in state)


@pytest.mark.slow
def test_the_two_parts_of_v1_become_one_network(shared: Path, tmp_path: Path) -> None:
    folder = shared / "weights" / "tflite" / "mobilenet_v1_1.0_224_quant_split"
    body = folder / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
    head = folder / "mobilenet_quant_v1_224_head_layers.tflite"
    result = convert([body, head], tmp_path / "run")
    assert result["recognised"]["network"] == "mobilenet_v1"
    assert (result["classes"], result["background"]) == (1000, True)
    assert result["tensors"]["used"] == 56
    with pytest.raises(UserError):
        convert([head, body], tmp_path / "other")
    with pytest.raises(UserError, match="takes features, not images"):
        convert([head], tmp_path / "other")
    shutil.rmtree(tmp_path / "run")


@pytest.mark.slow
def test_an_imported_run_exports_verifies_and_says_where_it_comes_from(vww: Path, tmp_path: Path) -> None:
    from mobilenets.deploy.export import export

    convert([vww], tmp_path / "run")
    export(tmp_path / "run", tmp_path / "bundle", to=("onnx",))
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    source = manifest["provenance"]["source"]
    assert source["kind"] == "weights"
    assert source["sources"][0]["name"] == "vww_96_float.tflite"
    images = pictures(96)
    assert np.abs(load(tmp_path / "bundle").logits(images) - load(vww).logits(images)).max() < 1e-4
    assert "imported from `vww_96_float.tflite`" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_nothing_of_the_users_is_lost(vww: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, the folder one stands in, notes beside the run, the source inside it: kept, or refused in one line."""
    convert([vww], tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt beside the run"):
        convert([vww], tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "run" / "notes.txt").unlink()
    inside = tmp_path / "run" / "mine.tflite"
    shutil.copy(vww, inside)
    with pytest.raises(UserError, match=r"mine\.tflite: lies in .*run, which would be replaced"):
        convert([inside], tmp_path / "run")
    inside.unlink()
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    assert convert([vww], tmp_path / "link")["ok"]
    assert open_run(tmp_path / "link").spec.name == "mobilenet_v1_025"
    monkeypatch.chdir(tmp_path / "run")
    assert convert([vww], ".")["ok"]
    assert open_run(tmp_path / "run").spec.name == "mobilenet_v1_025"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "run"]


def test_every_file_that_was_read_is_named_with_its_hash(shared: Path, tmp_path: Path) -> None:
    folder = shared / "weights" / "tfjs" / "centernet_mobilenet_v3_large_0.75_coco_fp16"
    result = convert([folder / "centernet.json"], tmp_path / "run", backbone=True)
    assert {row["name"]: row["sha256"] for row in result["sources"]} == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("centernet.json", "centernet.bin")
    }


def test_python_makes_a_model_of_whatever_names_one(vww: Path, tmp_path: Path) -> None:
    mobilenets.convert([vww], tmp_path / "run")
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        from_file, from_run = (mobilenets.create_model(str(name))(images) for name in (vww, tmp_path / "run"))
    assert torch.equal(from_file, from_run)
    assert mobilenets.create_model(str(vww), classes=5)(images).shape == (2, 5)
    with pytest.raises(UserError, match=r"width 0\.5 fits an architecture's name only"):
        mobilenets.create_model(str(vww), width=0.5)
