"""Model configurations of Keras 2 and 3, layer kinds one by one against Keras, and what is refused."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreter import before_softmax, run_graph
from keras_zoo import KERAS_NOTICE, application, disturb_, pixels, relative, run, save, write_layers

from mobilenets.errors import UserError
from mobilenets.weights.graph import Graph, Source
from mobilenets.weights.keras import matches, open_reference, read
from mobilenets.weights.keras.config import graph_of
from mobilenets.weights.keras.modern import modernised

pytestmark = pytest.mark.filterwarnings(KERAS_NOTICE)

TOLERANCE = 1e-5  # of the largest logit


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """V1 0.25 at 64 pixels as .keras."""
    return save(application("v1", 64, alpha=0.25)[0], tmp_path_factory.mktemp("keras"), ".keras")


def graph_at(path: Path) -> Graph:
    source = read(path)
    assert isinstance(source, Source)
    assert source.graph is not None
    return source.graph


def raw_logits(graph: Graph, images: np.ndarray) -> np.ndarray:
    """The graph for pixels as they are."""
    found = run_graph(graph, images.astype(np.float32).transpose(0, 3, 1, 2), before_softmax(graph))
    return found.reshape(len(found), -1)


# Keras 2 ----------------------------------------------------------------------------------------------------------


def as_keras_2(model: Any) -> dict[str, Any]:
    """A V3 model's configuration in the style of Keras 2.8: lists for calls, TFOpLambda for `x + 3` and `x * 1 / 6`."""
    config = json.loads(model.to_json())
    config = {"class_name": "Functional", "config": config["config"]}
    functions = {"Add": "__operators__.add", "Multiply": "math.multiply"}
    for layer in config["config"]["layers"]:
        for key in ("module", "registered_name", "build_config"):
            operator = key == "module" and str(layer.get(key)).startswith("keras.src.ops")
            layer.pop(key, None)
            if operator:
                function = functions[layer["class_name"]]
                layer["class_name"] = "TFOpLambda"
                layer["config"] |= {"function": function}
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")
        if layer["class_name"] == "DepthwiseConv2D":
            layer["config"]["groups"] = 1
        for key in ("dtype", *[each for each in layer["config"] if each.endswith(("initializer", "policy"))]):
            layer["config"].pop(key, None)
        layer["inbound_nodes"] = [_keras_2_call(layer, call) for call in layer["inbound_nodes"]]
    for key in ("input_layers", "output_layers"):
        config["config"][key] = [config["config"][key]]
    return config


def _keras_2_call(layer: dict[str, Any], call: dict[str, Any]) -> list[Any]:
    args = call["args"][0] if isinstance(call["args"][0], list) else call["args"]
    histories = [each["config"]["keras_history"] for each in args if isinstance(each, dict)]
    if layer["class_name"] == "TFOpLambda":
        return [*histories[0], {"y": args[1], "name": None}]
    return [[*history, {}] for history in histories]


@pytest.fixture(scope="module")
def v3_of_keras_2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A V3 file as Keras 2.8 wrote it, images, and Keras' logits of the same model."""
    import h5py

    model, logits = application("v3_small", 64, alpha=0.5)
    path = tmp_path_factory.mktemp("keras_2") / "v3.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.8.0", "tensorflow"
        file.attrs["model_config"] = json.dumps(as_keras_2(model))
        write_layers(file.create_group("model_weights"), model)
    images = pixels(64)
    return path, images, logits(images)


def test_keras_2_functions_are_read(v3_of_keras_2: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, images, want = v3_of_keras_2
    graph = graph_at(path)
    assert {node.kind for node in graph.nodes if node.op == "other"} == set()
    assert relative(raw_logits(graph, images), want) <= TOLERANCE


def test_keras_3_runs_a_file_of_keras_2(v3_of_keras_2: tuple[Path, np.ndarray, np.ndarray]) -> None:
    """Its TFOpLambda and the `groups` of its depthwise layers are unknown to Keras 3: respelled, the numbers stay."""
    path, images, want = v3_of_keras_2
    reference = open_reference(path, read(path))
    assert reference is not None
    assert relative(reference(images), want) <= TOLERANCE


def test_only_what_keras_3_cannot_build_is_respelled(v1: Path) -> None:
    config = json.loads(zipfile.ZipFile(v1).read("config.json"))
    assert modernised(config) == config


def test_hard_sigmoid_changed_with_keras_3() -> None:
    """0.2 x + 0.5 before, x / 6 + 0.5 since."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3], "name": "i"}},
        {"class_name": "Activation", "config": {"activation": "hard_sigmoid", "name": "a"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    ops = {
        version: graph_of(config, lambda path: {}, (), where="x", version=version).nodes[0].op
        for version in ("2.15.0", "tfjs-layers 4.22.0", "", "3.0.0")
    }
    assert ops == {"2.15.0": "other", "tfjs-layers 4.22.0": "other", "": "other", "3.0.0": "act"}


# Layers one by one ------------------------------------------------------------------------------------------------


def odd_layers(keras: Any) -> list[Any]:
    """Layers in settings that the MobileNets of keras.applications do not use, from 33 x 33 pixels to 5 logits."""
    layers = keras.layers
    return [
        layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 2900.0, 3100.0]),
        layers.ZeroPadding2D(((2, 1), (0, 3))),
        layers.Conv2D(8, (3, 5), strides=2, padding="valid", activation="relu6"),
        layers.BatchNormalization(scale=False, epsilon=1e-2),
        layers.DepthwiseConv2D(3, depth_multiplier=3, strides=2, padding="same", activation="hard_silu"),
        layers.BatchNormalization(center=False),
        layers.LeakyReLU(0.2),
        layers.SeparableConv2D(12, 3, depth_multiplier=2, padding="same", activation="gelu"),
        layers.Conv2D(12, 3, groups=4, dilation_rate=2, padding="same", use_bias=False),
        layers.ReLU(6.0),
        layers.Conv2D(8, 1, activation=keras.layers.LeakyReLU(0.1)),
        layers.Dense(8, activation="hard_sigmoid"),
        layers.AveragePooling2D((9, 8)),
        layers.Reshape((1, 1, 8)),
        layers.SpatialDropout2D(0.1),
        layers.Conv2D(6, 1, use_bias=False),
        layers.Reshape((6,)),
        layers.Dense(6, activation="sigmoid"),
        layers.Dense(5),
        layers.Flatten(),
    ]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_odd_layers_equal_keras(suffix: str, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((33, 33, 3)), *odd_layers(keras)])
    disturb_(model)
    images = pixels(33)
    graph = graph_at(save(model, tmp_path, suffix))
    assert [node.kind for node in graph.nodes if node.op == "other"] == []
    assert relative(raw_logits(graph, images), run(model, images)) <= TOLERANCE


def test_an_adapted_normalization_is_read_and_its_counter_set_aside(tmp_path: Path) -> None:
    import keras

    layer = keras.layers.Normalization()
    layer.adapt(pixels(8, 5).astype(np.float32))
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.GlobalAveragePooling2D()])
    graph = graph_at(save(model, tmp_path, ".keras"))
    images = pixels(8)
    assert relative(raw_logits(graph, images), run(model, images)) <= TOLERANCE
    sources = {name for node in graph.nodes for name in node.sources}
    assert sources | set(graph.set_aside) == set(graph.tensors)


def test_a_layer_used_twice(tmp_path: Path) -> None:
    import keras

    start = keras.Input((8, 8, 3))
    conv, act = keras.layers.Conv2D(3, 3, padding="same"), keras.layers.ReLU(6.0)
    x = act(conv(act(conv(start))))
    model = keras.Model(start, keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, start, x])))
    disturb_(model)
    images = pixels(8)
    for suffix in (".keras", ".h5"):
        assert relative(raw_logits(graph_at(save(model, tmp_path, suffix)), images), run(model, images)) <= TOLERANCE


def test_other_operations_are_named(tmp_path: Path) -> None:
    import keras

    layers = [keras.layers.MaxPooling2D(2), keras.layers.AveragePooling2D(2), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    kinds = [node.kind for node in graph_at(save(model, tmp_path, ".keras")).nodes]
    assert kinds == ["MaxPooling2D", "AveragePooling2D of 2x2", "Flatten of a map that was not pooled"]


# What is refused --------------------------------------------------------------------------------------------------


def rewritten(path: Path, target: Path, **members: bytes) -> Path:
    """A copy of a .keras archive with other members; the keys have `_` for `.`."""
    named = {key.replace("_", "."): value for key, value in members.items()}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copied:
        for name in source.namelist():
            copied.writestr(name, named.get(name, source.read(name)))
    return target


def refusal(path: Path) -> str:
    """The one line of the UserError, with the file's name in it."""
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_lambda_layer_is_refused_and_not_run(v1: Path, tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x + 1, name="sly"), keras.layers.ReLU()]
    for suffix in (".keras", ".h5"):
        assert "Lambda layer 'sly' holds Python code" in refusal(save(keras.Sequential(layers), tmp_path, suffix))
    config = json.loads(zipfile.ZipFile(v1).read("config.json"))
    deep = {"class_name": "__lambda__", "config": {"value": "code"}}
    config["config"]["layers"][1]["config"]["kernel_initializer"] = {"config": [{"deeper": deep}]}
    path = rewritten(v1, tmp_path / "deep.keras", config_json=json.dumps(config).encode())
    assert "holds Python code" in refusal(path)


def test_foreign_modules_are_never_loaded(v1: Path, tmp_path: Path) -> None:
    config = json.loads(zipfile.ZipFile(v1).read("config.json"))
    config["config"]["layers"][1]["config"]["kernel_initializer"] = {
        "module": "os",
        "class_name": "system",
        "config": {},
    }
    path = rewritten(v1, tmp_path / "foreign.keras", config_json=json.dumps(config).encode())
    assert open_reference(path, read(path)) is None


def test_damaged_files(v1: Path, tmp_path: Path) -> None:
    data = v1.read_bytes()
    weights = zipfile.ZipFile(v1).read("model.weights.h5")
    cases = {
        "cut.keras": data[: len(data) // 2],
        "cut.weights.h5": weights[: len(weights) // 2],
        "text.h5": b"no model",
        "signature.h5": weights[:8],
        "empty.h5": b"",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)
    refusal(rewritten(v1, tmp_path / "inner.keras", model_weights_h5=weights[:2000]))
    refusal(rewritten(v1, tmp_path / "json.keras", config_json=b"{"))
    refusal(rewritten(v1, tmp_path / "list.keras", config_json=b'{"class_name": "Functional", "config": 3}'))
    assert "nest" not in refusal(rewritten(v1, tmp_path / "deep.keras", config_json=b"[" * 100_000))
    assert not matches(tmp_path / "text.h5")


def test_a_zip_bomb(v1: Path, tmp_path: Path) -> None:
    path = rewritten(v1, tmp_path / "bomb.keras", model_weights_h5=b"\x89HDF\r\n\x1a\n" + bytes(50_000_000))
    assert path.stat().st_size < 100_000
    assert "zip bomb" in refusal(path)


def test_an_hdf5_bomb(tmp_path: Path) -> None:
    """A few kilobytes that declare 40 GB of zeros."""
    import h5py

    with h5py.File(tmp_path / "bomb.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (100_000, 100_000), np.float32, chunks=(1000, 1000))
    assert "would take 40.0 GB" in refusal(tmp_path / "bomb.weights.h5")


def test_tensors_in_other_files_are_not_opened(v1: Path, tmp_path: Path) -> None:
    import h5py

    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(tmp_path / "outside.weights.h5", "w") as file:
        outside = [(str(tmp_path / "secret"), 0, 400)]
        file.create_dataset("layers/conv2d/vars/0", (100,), np.float32, external=outside)
    assert "lies in another file" in refusal(tmp_path / "outside.weights.h5")
    with h5py.File(tmp_path / "linked.weights.h5", "w") as file:
        file.create_group("layers")
        file["layers/conv2d"] = h5py.ExternalLink(str(tmp_path / "outside.weights.h5"), "layers/conv2d")
    assert "fit no MobileNet" in refusal(tmp_path / "linked.weights.h5")


def test_a_missing_tensor_is_named(v1: Path, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "weights.h5"
    path.write_bytes(zipfile.ZipFile(v1).read("model.weights.h5"))
    with h5py.File(path, "r+") as file:
        del file["layers/batch_normalization_3/vars/2"]
    broken = rewritten(v1, tmp_path / "broken.keras", model_weights_h5=path.read_bytes())
    assert "lacks the moving_mean of the layer 'conv_dw_2_bn'" in refusal(broken)


def test_models_of_other_forms(v1: Path, tmp_path: Path) -> None:
    config = json.loads(zipfile.ZipFile(v1).read("config.json"))
    own = copy.deepcopy(config) | {"class_name": "MyModel"}
    path = rewritten(v1, tmp_path / "own.keras", config_json=json.dumps(own).encode())
    assert "a model of class 'MyModel'" in refusal(path)
    for depth in (320, 5000):
        text = '{"class_name": "Sequential", "config": {"name": "s", "layers": [' * depth + "]}}" * depth
        path = rewritten(v1, tmp_path / "nested.keras", config_json=text.encode())
        assert "maximum recursion depth exceeded" in refusal(path)
    lost = copy.deepcopy(config)
    del lost["config"]["layers"][4]
    path = rewritten(v1, tmp_path / "lost.keras", config_json=json.dumps(lost).encode())
    assert "takes what no layer gives" in refusal(path)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    import keras

    start, layer = keras.Input((8, 8, 4)), keras.layers.Dense(3)
    model = keras.Model(start, layer(keras.layers.GlobalAveragePooling2D()(start)))
    layer.quantize("int8")
    assert "int8, quantised by Keras" in refusal(save(model, tmp_path, ".keras"))
