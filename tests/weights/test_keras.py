"""Keras files read without Keras, against the real Keras on torch: the zoo of keras.applications in every format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interpreter import before_softmax, run_graph
from keras_zoo import KERAS_NOTICE, application, disturb_, pixels, relative, run, save, save_as_keras_2

from mobilenets.arch.spec import Spec
from mobilenets.nn.network import build_network
from mobilenets.weights.graph import Graph, Source
from mobilenets.weights.keras import matches, open_reference, read
from mobilenets.weights.keras.runtime import import_keras
from mobilenets.weights.recognise import recognise
from mobilenets.weights.recognised import Recognised

pytestmark = pytest.mark.filterwarnings(KERAS_NOTICE)

TOLERANCE = 2e-5  # of the largest logit: float32 alone makes up to 1e-5, the issue asks for 1e-4


def graph_logits(source: Source, images: np.ndarray) -> np.ndarray:
    """The graph run as it stands, normalised as the source says."""
    assert source.graph is not None
    mean, std = (source.normalisation.mean, source.normalisation.std) if source.normalisation else (0.0, 1.0)
    normalised = ((images.astype(np.float32) - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    found = run_graph(source.graph, normalised, before_softmax(source.graph))
    return found.mean((2, 3)) if found.ndim == 4 else found


def network_logits(spec: Spec, state: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Our network's logits."""
    network = build_network(spec).eval()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    mean, std = (np.float32(each) for each in (spec.preprocessing.mean, spec.preprocessing.std))
    normalised = ((images.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return network(torch.from_numpy(np.ascontiguousarray(normalised))).numpy()


def check_file(path: Path, side: int, want: np.ndarray, images: np.ndarray) -> Recognised:
    """Reads the file, compares graph, network and Keras' own answer with `want`; nothing of the file is left over."""
    assert matches(path)
    found = read(path)
    if isinstance(found, Source):
        graph = found.graph
        assert graph is not None
        assert (graph.height, graph.width, graph.channels) == (side, side, 3)
        assert used(graph) | set(graph.set_aside) == set(graph.tensors)
        assert relative(graph_logits(found, images), want) <= TOLERANCE
    reference = open_reference(path, found)
    if isinstance(found, Source) or side == found.spec.resolution:
        assert reference is not None
        assert relative(reference(images), want) <= TOLERANCE
    network = found if isinstance(found, Recognised) else recognise(found, str(path))
    assert relative(network_logits(network.spec, network.state, images), want) <= TOLERANCE
    return network


def used(graph: Graph) -> set[str]:
    """The names of the tensors behind the nodes."""
    return {name for node in graph.nodes for name in node.sources}


FAST: list[tuple[str, int, dict[str, Any], str]] = [
    ("v1", 64, {"alpha": 0.25}, ".keras"),
    ("v1", 64, {"alpha": 0.25, "top": False}, ".weights.h5"),
    ("v2", 75, {"alpha": 0.35}, ".h5"),
    ("v3_small", 64, {"alpha": 0.75}, ".keras"),
    ("v3_small", 64, {"minimalistic": True}, "legacy.h5"),
    ("v3_large", 64, {"alpha": 0.5, "top": False}, ".weights.h5"),
]
SLOW: list[tuple[str, int, dict[str, Any], str]] = [
    (network, side, {**settings, "top": top}, suffix)
    for network, side, settings in (
        ("v1", 96, {"alpha": 0.5}),
        ("v1", 64, {"alpha": 1.0}),
        ("v1", 77, {"alpha": 0.75}),
        ("v2", 64, {"alpha": 1.0}),
        ("v2", 97, {"alpha": 1.4}),
        ("v3_small", 97, {"alpha": 1.0}),
        ("v3_small", 64, {"alpha": 1.25}),
        ("v3_large", 65, {"alpha": 1.0}),
        ("v3_large", 64, {"alpha": 0.75, "minimalistic": True}),
    )
    for top in (True, False)
    for suffix in (".keras", ".h5", ".weights.h5", "legacy.h5")
    if (side % 32 == 0 or suffix in (".keras", ".h5"))  # weights alone do not tell the input size
    and (top or suffix in (".keras", "legacy.h5"))
]


def check_case(network: str, side: int, settings: dict[str, Any], suffix: str, folder: Path) -> None:
    model, logits = application(network, side, **settings)
    images = pixels(side)
    found = check_file(save(model, folder, suffix), side, logits(images), images)
    name = {"v1": "v1", "v2": "v2", "v3_small": "v3_small", "v3_large": "v3_large"}[network]
    assert found.spec.name.startswith(f"mobilenet_{name}")
    assert ("minimal" in found.spec.name) == settings.get("minimalistic", False)
    assert found.spec.width == settings.get("alpha", 1.0)
    assert found.spec.norm.eps == pytest.approx(1e-3)
    assert found.spec.head.classes == (7 if settings.get("top", True) else 0)


@pytest.mark.parametrize(("network", "side", "settings", "suffix"), FAST)
def test_application(network: str, side: int, settings: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    check_case(network, side, settings, suffix, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "side", "settings", "suffix"), SLOW)
def test_every_application(network: str, side: int, settings: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    check_case(network, side, settings, suffix, tmp_path)


def test_weights_at_the_published_size_equal_keras(tmp_path: Path) -> None:
    model, logits = application("v3_small", 128, alpha=0.75)
    model.save_weights(tmp_path / "v3_small_128.weights.h5")
    images = pixels(128, 2)
    found = check_file(tmp_path / "v3_small_128.weights.h5", 128, logits(images), images)
    assert found.spec.resolution == 128  # by the file's name, which the facts say
    assert found.facts["resolution"] == "128, by the file's name"
    assert found.facts["layer names"] == "those of keras.applications"


def test_names_of_keras_2_3_are_known(tmp_path: Path) -> None:
    """V3 had slashes and capitals in its names: Conv/BatchNorm, expanded_conv_1/expand/BatchNorm, Logits."""
    model, logits = application("v3_small", 64, alpha=0.75)

    def old(name: str) -> str:
        name = name.replace("_bn", "/BatchNorm").replace("squeeze_excite_conv", "squeeze_excite/Conv")
        for part in ("expand", "depthwise", "project", "squeeze"):
            name = name.replace(f"_{part}", f"/{part}")
        return name[0].upper() + name[1:] if name.startswith(("conv", "logits")) else name

    save_as_keras_2(model, tmp_path / "old.h5", old)
    found = read(tmp_path / "old.h5")
    assert isinstance(found, Recognised)
    assert found.facts["layer names"] == "those of keras.applications"
    assert "expanded_conv_1/expand/BatchNorm/expanded_conv_1/expand/BatchNorm/gamma:0" in found.used
    images = pixels(64)
    assert relative(network_logits(found.spec, found.state, images), logits(images)) <= TOLERANCE


def test_nested_models_and_optimiser_state(tmp_path: Path) -> None:
    """Transfer learning as the tutorials do it: rescaling, a frozen base without top, pooling, a Dense."""
    import keras

    base, _ = application("v1", 64, alpha=0.25, top=False)
    start = keras.Input((64, 64, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(start)
    x = keras.layers.GlobalAveragePooling2D()(base(x))
    model = keras.Model(start, keras.layers.Dense(5, "softmax")(keras.layers.Dropout(0.2)(x)))
    disturb_(model)
    base.trainable = False
    model.compile("adam", "categorical_crossentropy")
    model.fit(pixels(64, 2).astype(np.float32), np.eye(5)[:2], verbose=0)
    images = pixels(64)
    paths = [save(model, tmp_path, suffix) for suffix in (".keras", ".h5")]
    model.layers[-1].activation = keras.activations.linear
    want = run(keras.Model(model.inputs[0], model.outputs[0]), images)
    for path in paths:
        source = read(path)
        assert isinstance(source, Source)
        assert source.graph is not None
        assert source.normalisation is None  # the graph takes raw pixels
        assert "optimiser state" in source.graph.set_aside.values()
        found = check_file(path, 64, want, images)
        assert found.spec.preprocessing.mean == pytest.approx((127.5,) * 3)


@pytest.mark.parametrize("nested", [False, True])
def test_sequential(nested: bool, tmp_path: Path) -> None:
    import keras

    base, _ = application("v1", 64, alpha=0.25, top=False)
    rescaling = keras.layers.Rescaling(1 / 255)
    front = [keras.Sequential([rescaling])] if nested else [keras.Input((64, 64, 3)), rescaling]
    layers = [*front, base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)]
    model = keras.Sequential([*layers, keras.layers.Softmax()])
    model.build((None, 64, 64, 3))
    disturb_(model)
    images = pixels(64)
    want = run(keras.Sequential(layers), images)
    for suffix in (".keras", ".h5"):
        found = check_file(save(model, tmp_path, suffix), 64, want, images)
        assert found.spec.preprocessing.mean == pytest.approx((0.0,) * 3)
        assert found.spec.preprocessing.std == pytest.approx((255.0,) * 3)


def test_the_published_v1(shared: Path) -> None:
    """The real keras.applications file, written by Keras 2.8."""
    path = shared / "weights/keras/mobilenet_v1_0.25_224_imagenet/mobilenet_v1_0.25_224.h5"
    images = pixels(224, 2)
    found = read(path)
    reference = open_reference(path, found)
    assert reference is not None
    spec = check_file(path, 224, reference(images), images).spec
    assert (spec.name, spec.head.classes, spec.head.background) == ("mobilenet_v1_025", 1000, False)
    assert (spec.padding, spec.norm.eps, {b.act for b in spec.blocks}) == ("same", pytest.approx(1e-3), {"relu6"})


def test_visual_wake_words(shared: Path) -> None:
    """Keras 2.4, automatic names, plain ReLU, convolution bias and BatchNorm, Adam's state; as its TFLite file."""
    path = shared / "weights/keras/vww_96_mobilenet_v1_0.25/vww_96.h5"
    found = read(path)
    assert isinstance(found, Source)
    assert found.graph is not None
    assert list(found.graph.set_aside.values()) == ["optimiser state"] * 221
    reference = open_reference(path, found)
    assert reference is not None
    images = pixels(96)
    network = check_file(path, 96, reference(images), images)
    assert (network.spec.head.classes, {b.act for b in network.spec.blocks}) == (2, {"relu"})
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    lite = interpreter(str(shared / "weights/tflite/vww_96_mobilenet_v1_0.25/vww_96_float.tflite"), num_threads=1)
    lite.allocate_tensors()
    probabilities = torch.from_numpy(network_logits(network.spec, network.state, images)).softmax(1).numpy()
    for image, ours in zip(images, probabilities):
        normalised = (image[None].astype(np.float32) - 127.5) / 127.5
        lite.set_tensor(lite.get_input_details()[0]["index"], normalised)
        lite.invoke()
        theirs = lite.get_tensor(lite.get_output_details()[0]["index"])[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_reading_imports_neither_keras_nor_h5py_before_a_file_is_read() -> None:
    code = "import sys, mobilenets.weights.keras; print({'keras', 'h5py', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_keras_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert import_keras().backend.backend() == "torch"
    assert "KERAS_BACKEND" not in os.environ
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import_keras()
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_without_keras_there_is_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = application("v1", 64, alpha=0.25)
    path = save(model, tmp_path, ".keras")
    monkeypatch.setitem(sys.modules, "keras", None)
    assert open_reference(path, read(path)) is None
