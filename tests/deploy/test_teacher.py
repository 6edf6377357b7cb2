"""Teachers by name: a Run, a Bundle, its model file and anybody's ONNX file, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mobilenets.api import train
from mobilenets.arch.spec import Preprocessing
from mobilenets.deploy.load import load
from mobilenets.deploy.teacher import find_teacher
from mobilenets.errors import UserError
from mobilenets.training.distill import TeachersView
from mobilenets.training.loop import Normaliser
from mobilenets.training.teacher import Teacher

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)


def write_classifier(
    path: Path,
    *,
    shape: tuple[Any, ...] = ("N", 3, 16, 16),
    softmax: bool = False,
    kind: int = TensorProto.FLOAT,
    outputs: int = 3,
) -> Path:
    """The mean colour times a matrix, of float or uint8 images in either layout."""
    axes = [1, 2] if shape[-1] == 3 else list(range(2, len(shape)))
    weight = np.resize(WEIGHT, (shape[1] if shape[-1] != 3 else 3, outputs)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["end"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["end"], ["p"], axis=1))
    name = "p" if softmax else "end"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


def answers(teacher: Teacher, pixels: np.ndarray) -> np.ndarray:
    """What a teacher says to uint8 images that were normalised for a student with constants of its own."""
    normalise = Normaliser(Preprocessing(resolution=32, mean=(100.0, 110.0, 120.0)), torch.device("cpu"))
    view = TeachersView(teacher, normalise, None)
    with torch.no_grad():
        return teacher.run(view(normalise(torch.from_numpy(pixels)))).numpy()


def test_run_bundle_and_model_file_are_the_same_teacher(run: Path, bundle: Path, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    expected = load(run).logits(pixels)
    copy = Path(shutil.copy(_model(bundle), tmp_path / "copy.onnx"))
    teachers = {name: find_teacher(str(name)) for name in (run, bundle, _model(bundle), copy)}
    for teacher in teachers.values():
        np.testing.assert_allclose(answers(teacher, pixels), expected, rtol=1e-3, atol=1e-4)
    assert teachers[run].module is not None
    assert teachers[bundle].module is not None
    assert teachers[_model(bundle)].module is None
    assert teachers[_model(bundle)].sides == (32,)
    assert [row["name"] for row in teachers[run].labels or []] == ["amber", "blue", "cyan"]


def _model(bundle: Path) -> Path:
    (found,) = bundle.rglob("*.onnx")
    return found


def test_a_bundles_file_teaches_as_its_network_does(run: Path, bundle: Path, colours: Path, tmp_path: Path) -> None:
    """By a network and by its exported file a student that hardly moves has almost the same loss."""
    settings: dict[str, Any] = {"model": "mobilenet_v1_shallow", "width": 0.25, "resolution": 32, "epochs": 1}
    settings["precision"] = "float32"  # a bundle's file computes in float32
    losses = []
    for index, teacher in enumerate((run, _model(bundle))):
        result = train(colours, out=tmp_path / str(index), teacher=teacher, batch_size=9, lr=1e-9, **settings)
        losses.append(result["best"]["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ("imagenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("unit", (0, 0, 0), (255, 255, 255)),
        ("symmetric", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("pixels", (0, 0, 0), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("shape", [("N", 3, 16, 16), (1, 16, 16, 3), ("N", 3, "H", "W")])
def test_a_file_of_floats_gets_what_was_stated(
    tmp_path: Path, given: str, mean: tuple[float, ...], std: tuple[float, ...], shape: tuple[Any, ...]
) -> None:
    teacher = find_teacher(str(write_classifier(tmp_path / "t.onnx", shape=shape)), given)
    pixels = RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    expected = ((pixels - np.array(mean)) / np.array(std)).mean((1, 2)) @ WEIGHT
    np.testing.assert_allclose(answers(teacher, pixels), expected, rtol=1e-4, atol=1e-3)
    assert teacher.labels is None
    assert teacher.resolution == (None if "H" in shape else 16)


def test_a_file_of_bytes_states_itself(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "t.onnx", shape=("N", 16, 16, 3), kind=TensorProto.UINT8)
    pixels = RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(answers(find_teacher(str(path)), pixels), pixels.mean((1, 2)) @ WEIGHT, rtol=1e-5)


def test_probabilities_become_logits(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "t.onnx", softmax=True)
    pixels = RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    logits = (pixels / 255).mean((1, 2)) @ WEIGHT
    found = answers(find_teacher(str(path), "unit"), pixels)
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("outputs", "first"), [(1000, "tench"), (1001, "background")])
def test_a_thousand_outputs_are_imagenets(tmp_path: Path, outputs: int, first: str) -> None:
    teacher = find_teacher(str(write_classifier(tmp_path / "t.onnx", outputs=outputs)), "unit")
    assert teacher.labels is not None
    assert teacher.labels[0]["name"] == first
    assert len(teacher.labels) == outputs


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        ({}, None, "does not say how they are normalised: --teacher-input, one of imagenet, unit, symmetric, pixels"),
        ({"shape": ("N", 1, 16, 16)}, "unit", "a teacher takes RGB images"),
        ({"shape": ("N", 3, 16, 24)}, "unit", "a teacher takes square images"),
        ({"shape": (4, 3, 16, 16)}, "unit", "takes 4 images at a time"),
        ({"shape": ("N", 3, 16)}, "unit", "a teacher takes float or uint8 images"),
        ({"kind": TensorProto.INT64}, "unit", "a teacher takes float or uint8 images"),
    ],
)
def test_files_that_cannot_teach_are_refused(tmp_path: Path, make: dict[str, Any], given: str, words: str) -> None:
    path = write_classifier(tmp_path / "t.onnx", **make)
    with pytest.raises(UserError, match=words) as caught:
        find_teacher(str(path), given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no model at all" * 50])
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.onnx: not a model that onnxruntime opens") as caught:
        find_teacher(str(tmp_path / "t.onnx"), "unit")
    assert "\n" not in str(caught.value)


def test_a_wrong_number_of_outputs_is_refused(tmp_path: Path, colours: Path) -> None:
    path = write_classifier(tmp_path / "t.onnx", outputs=7)
    with pytest.raises(UserError, match="gives 7 outputs without names, the data has 3 classes"):
        train(colours, out=tmp_path / "run", teacher=path, teacher_input="unit", resolution=32, epochs=1)
    path = write_classifier(tmp_path / "t.onnx")
    with pytest.raises(UserError, match=r"teacher resolution 48 is out of range: .* takes 16 pixels"):
        train(colours, out=tmp_path / "run", teacher=path, teacher_input="unit", teacher_resolution=48, epochs=1)
    assert not (tmp_path / "run").exists()
