"""The TensorFlow.js reader: malformed files are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreter import run_graph
from tfjs_networks import graph_of, images, v1_graph, v1_layers, v2_layers
from tfjs_writer import LayersModel, Weights, integers, shape, text

from mobilenets.errors import UserError
from mobilenets.weights import tfjs


def without_shard(path: Path) -> None:
    (path.parent / "group1-shard1of1.bin").unlink()


def cut(path: Path) -> None:
    shard = path.parent / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes()[:-5])


def longer(path: Path) -> None:
    shard = path.parent / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes() + b"12345")


def edit(**changes: Any) -> Any:
    def apply(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def edit_group(**changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        model["weightsManifest"][0] |= changes
        path.write_text(json.dumps(model))

    return apply


def edit_tensor(index: int, **changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        model["weightsManifest"][0]["weights"][index] |= changes
        path.write_text(json.dumps(model))

    return apply


def edit_node(node_name: str, /, **changes: Any) -> Any:
    def apply(path: Path) -> None:
        model = json.loads(path.read_text())
        next(node for node in model["modelTopology"]["node"] if node["name"] == node_name).update(changes)
        path.write_text(json.dumps(model))

    return apply


CONV = {"strides": integers(1, 2, 2, 1), "padding": {"s": text("SAME")}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("{"), "not JSON"),
        (lambda path: path.write_text("[" * 200000), "not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda path: path.write_text("[]"), "no weightsManifest"),
        (lambda path: path.unlink(), "no such file"),
        (edit(modelTopology=None), "no topology"),
        (edit(modelTopology={"x": 1}), "neither a GraphDef"),
        (edit(modelTopology={"node": [{"op": "Const"}]}), "topology is broken"),
        (edit(modelTopology={"node": [3]}), "topology is broken"),
        (edit(signature=[1]), "signature is no object"),
        (edit(weightsManifest=[{"paths": 3}]), "manifest is broken"),
        (without_shard, "'group1-shard1of1.bin' is missing"),
        (cut, "shorter than the manifest says"),
        (longer, "5 bytes longer than the manifest says"),
        (edit_group(paths=["../x.bin"]), "outside the model's folder"),
        (edit_group(paths=["/etc/hostname"]), "outside the model's folder"),
        (edit_group(paths=["a\\..\\x.bin"]), "outside the model's folder"),
        (edit_group(paths=["C:x.bin"]), "outside the model's folder"),
        (edit_tensor(0, shape=[10**9, 10**9]), "shorter than the manifest says"),
        (edit_tensor(0, shape=[-1, 3]), "has the shape"),
        (edit_tensor(0, dtype="float8"), "is float8"),
        (edit_tensor(0, quantization={"dtype": "int4"}), "stored as int4"),
        (edit_tensor(0, quantization={"dtype": "uint8", "scale": "x", "min": 0}), "manifest is broken"),
        (edit_tensor(0, quantization={"dtype": "uint8", "scale": 1e300, "min": 0}), "lead beyond float32"),
        (edit_tensor(0, name=3), "calls a tensor 3"),
        (edit_tensor(1, name="conv1/kernel"), "names the tensor conv1/kernel twice"),
        (edit_tensor(0, name="other"), "no values for the constant conv1/kernel"),
        (edit_node("conv1", input=["nobody", "conv1/kernel"]), "takes nobody"),
        (edit_node("conv1", name="dw0"), "same name"),
        (edit_node("conv1", input=["pw0", "conv1/kernel", "conv1/bias"]), "in a circle"),
        (edit_node("conv1", attr=CONV | {"padding": {"s": "!"}}), "topology is broken"),
        (edit_node("conv1", attr=CONV | {"padding": {"s": text("NEAR")}}), "padding NEAR"),
        (edit_node("conv1", attr=CONV | {"strides": integers(1, 0, 0, 1)}), "1 or more"),
        (edit_node("conv1", attr=CONV | {"data_format": {"s": text("NCHW")}}), "NCHW"),
        (edit_node("dw0", input=["image", "dw0/kernel", "dw0/bias"]), "for 8 channels, its input has 3"),
        (edit_node("dw0", input=["conv1", "dw0/kernel", "pw0/bias"]), "instead of 8 constants"),
        (edit_node("image", attr={"shape": {"shape": shape(-1, 7)}}), "must be .batch, height, width, channels."),
        (edit_node("image", op="NoOp"), "its inputs are: none"),
        (edit_node("pool", op="Placeholder", input=[], attr={}), "its inputs are: image, pool"),
    ],
)
def test_malformed_files_are_refused_in_one_line(change: Any, message: str, tmp_path: Path) -> None:
    path = v1_graph(Weights()).write(tmp_path)
    change(path)
    with pytest.raises(UserError, match=message) as caught:
        tfjs.read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_layers_model_without_a_layers_weights_is_refused(tmp_path: Path) -> None:
    path = v1_layers(Weights()).write(tmp_path)
    edit_tensor(0, name="conv1/karnel")(path)
    with pytest.raises(UserError, match="lacks the kernel of the layer 'conv1'"):
        tfjs.read(path)


@pytest.mark.parametrize("prefix", ["", "net/"])
def test_a_nested_model_finds_its_weights_with_its_name_before_them_or_without(prefix: str, tmp_path: Path) -> None:
    net = v2_layers(Weights())
    for entry in net.weights.entries:
        entry["name"] = prefix + entry["name"]
    graph = graph_of(net.write(tmp_path, nested=True))
    expected = net.values["logits"].numpy()
    assert np.abs(run_graph(graph, net.images.numpy()) - expected).max() < 1e-5


@pytest.mark.parametrize(("version", "op"), [("2.3.1", "other"), ("tfjs-layers 4.22.0", "other"), ("3.4.1", "act")])
def test_the_hard_sigmoid_of_keras_2_and_of_tensorflow_js_is_another(version: str, op: str, tmp_path: Path) -> None:
    net = LayersModel(images(4))
    net.layer("gate", "Activation", ["image"], net.values["image"], activation="hard_sigmoid")
    assert graph_of(net.write(tmp_path, version=version)).nodes[-1].op == op


def test_shards_larger_than_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = v1_graph(Weights()).write(tmp_path)
    monkeypatch.setattr("mobilenets.weights.tfjs.shards.SHARDS_LIMIT", 100)
    with pytest.raises(UserError, match="up to 100 are read"):
        tfjs.read(path)
