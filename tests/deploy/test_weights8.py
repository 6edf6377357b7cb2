"""weights8, int8 weights alone: the integers in each runtime's file, what it then computes, and what is said of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from faults import edit_model, replace_file
from lively import lively, pictures, shortened
from onnx import numpy_helper
from tiny_tflite import WEIGHT, tiny_logits, tiny_model
from torch import nn

from mobilenets.arch.registry import create_spec
from mobilenets.deploy import gates
from mobilenets.deploy.bench import promised
from mobilenets.deploy.export import export
from mobilenets.deploy.litert import file as tflite_file
from mobilenets.deploy.litert.weights import hold_integers_
from mobilenets.deploy.load import load, run_torch
from mobilenets.deploy.quantize import quantize
from mobilenets.deploy.runtimes import Ran, litert, runtime
from mobilenets.deploy.runtimes import onnx as onnx_files
from mobilenets.deploy.runtimes import openvino as ir
from mobilenets.deploy.runtimes.weight_only import integers, rounded
from mobilenets.deploy.verify import verify
from mobilenets.deploy.wrap import Shipped

Held = set[tuple[bytes, bytes]]  # of each weight: its int8 in torch's order (O, I, kH, kW), its float32 scales
FILE = "{}/weights8/model.{}"
SUFFIXES = {"onnx": "onnx", "openvino": "xml", "litert": "tflite", "web": "onnx"}


def plain_integers(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as `integers`, one number at a time."""
    steps, scales = [], []
    for channel in weight.reshape(len(weight), -1):
        scale = np.float32(max(abs(value) for value in channel)) / np.float32(127)
        scales.append(scale)
        steps.append([round(float(value) / float(scale)) for value in channel])  # half to even
    return np.array(steps, np.int8), np.array(scales, np.float32)


def weights_of(module: nn.Module) -> list[np.ndarray]:
    """The weights of all convolutions and linear layers."""
    return [each.weight.detach().numpy() for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)]


def expected_of(shipped: Shipped) -> Held:
    pairs = [plain_integers(weight) for weight in weights_of(shipped)]
    return {(steps.tobytes(), scales.tobytes()) for steps, scales in pairs}


def in_onnx(path: Path) -> Held:
    graph = onnx.load(path).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found = set()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            product = makers[node.input[1]]
            cast = makers[product.input[0]]
            assert (product.op_type, cast.op_type) == ("Mul", "Cast")
            found.add((constants[cast.input[0]].tobytes(), constants[product.input[1]].tobytes()))
    return found


def in_openvino(path: Path) -> Held:
    import openvino

    found = set()
    for node in openvino.Core().read_model(path).get_ops():
        if node.get_type_name() != "Multiply" or node.input_value(0).get_node().get_type_name() != "Convert":
            continue
        steps = node.input_value(0).get_node().input_value(0).get_node()
        if steps.get_type_name() == "Constant":
            assert steps.get_element_type().get_type_name() == "i8"
            found.add((steps.data.tobytes(), node.input_value(1).get_node().data.tobytes()))
    return found


def in_litert(path: Path) -> Held:
    records = tflite_file.schema()
    model = records.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    found = set()
    for kind, operator in zip(tflite_file.operator_kinds(model), model.subgraphs[0].operators):
        if kind != "DEQUANTIZE":
            continue
        (index,) = operator.inputs
        tensor = model.subgraphs[0].tensors[index]
        steps = tflite_file.bytes_of(model, index).view(np.int8).reshape(tensor.shape)
        assert not tensor.quantization.zeroPoint.any()
        if tensor.quantization.quantizedDimension == 3:
            steps = steps.transpose(3, 0, 1, 2)  # (1, H, W, C) -> (C, 1, H, W)
        elif steps.ndim == 4:
            steps = steps.transpose(0, 3, 1, 2)  # (O, H, W, I) -> (O, I, H, W)
        found.add((steps.tobytes(), tensor.quantization.scale.astype(np.float32).tobytes()))
    return found


READERS: dict[str, Callable[[Path], Held]] = {"onnx": in_onnx, "openvino": in_openvino, "litert": in_litert}


def test_the_integers_are_the_nearest_and_halves_go_to_the_even() -> None:
    weight = np.array([[127, 0.5, 1.5, -2.5], [-254, 127, 3, 0], [0, 0, 0, 0]], np.float32)
    values, scale = integers(weight)
    np.testing.assert_array_equal(values, [[127, 0, 2, -2], [-127, 64, 2, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(scale, np.array([1, 2, 1], np.float32))
    assert (values.dtype, scale.dtype) == (np.int8, np.float32)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_scales_stand_along_the_axis_of_the_outputs(axis: int) -> None:
    weight = np.random.default_rng(3).normal(size=(4, 5, 3, 2)).astype(np.float32)
    values, scale = integers(weight, axis)
    steps, scales = plain_integers(np.moveaxis(weight, axis, 0))
    np.testing.assert_array_equal(np.moveaxis(values, axis, 0).reshape(len(steps), -1), steps)
    np.testing.assert_array_equal(scale, scales)
    assert (np.abs(np.moveaxis(values, axis, 0)).reshape(len(steps), -1).max(1) == 127).all()


def test_the_tiny_file_holds_integers_and_computes_in_float(tmp_path: Path) -> None:
    model = tiny_model()
    hold_integers_(model)
    spec = create_spec("mobilenet_v1_shallow", width=0.25, resolution=32, classes=3)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_file.tflite(model, spec, {"labels": '["a", "b", "c"]'}))
    assert litert.stored(path) == {"int8": WEIGHT.size}
    images = pictures(2, 8)
    steps, scales = plain_integers(WEIGHT)
    means = images.mean(axis=(1, 2), dtype=np.float64)
    found = litert.LitertSession(path, None).run(images)
    np.testing.assert_allclose(found, means @ (steps * scales[:, None]).astype(np.float64).T, rtol=1e-5)
    assert np.abs(found - tiny_logits(images)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mobilenet_v2", "openvino"),
        ("mobilenet_v2", "litert"),
        ("mobilenet_v3_small", "onnx"),
        ("mobilenet_v3_small", "openvino"),
        ("mobilenet_v3_small", "litert"),
        ("mobilenet_v4_conv_small", "litert"),
        ("mobilenet_v4_hybrid_medium", "onnx"),
        ("mobilenet_v4_hybrid_medium", "openvino"),
    ],
)
def test_each_file_holds_and_computes_what_it_is_called(name: str, place: str, tmp_path: Path) -> None:
    if place == "litert":
        pytest.importorskip("litert_torch")  # which no extra installs
    shipped = Shipped(lively(shortened(create_spec(name, resolution=64, classes=10))))
    each = runtime(place)
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        path, _ = each.write(shipped, folder, "weights8", {"labels": '["a"]'})
    for part in (tmp_path / "one").iterdir():
        assert part.read_bytes() == (tmp_path / "two" / part.name).read_bytes()

    assert READERS[place](path) == expected_of(shipped)
    count = sum(weight.size for weight in weights_of(shipped))
    assert each.stored is not None
    stored = each.stored(path)
    assert stored["int8"] == count
    assert stored.get("float32", 0) < 0.1 * count  # biases, where the format's constants are all counted

    images = pictures(8, 64)
    plain, found = run_torch(shipped, images), each.open(path, 1).run(images)
    own = Shipped(lively(shortened(create_spec(name, resolution=64, classes=10))))
    for layer in own.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            steps, scales = plain_integers(layer.weight.detach().numpy())
            layer.weight.data.copy_(layer.weight.new_tensor(steps * scales[:, None]).view_as(layer.weight))
    expected = run_torch(own, images)
    np.testing.assert_array_equal(run_torch(rounded(shipped), images), expected)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(found - plain).max() > 1e-3 * np.abs(expected).max()  # so the line above says something

    assert each.ran is not None
    ran = each.ran(path, 1)
    assert set(ran["precisions"]) == {"float32"}
    assert promised(ran, "weights8") == []
    assert not any(word in note for note in ran["notes"] for word in ("DEQUANTIZE", "another type", "casts", "int8"))
    assert not {"DequantizeLinear", "DynamicQuantizeLinear"} & ran["operators"].keys()
    assert ran["operators"].get("Cast", 1) == 1  # the pixels': those of the weights ran when the file was loaded


@pytest.mark.slow
def test_a_file_is_a_quarter_as_large(tmp_path: Path) -> None:
    shipped = Shipped(lively(create_spec("mobilenet_v3_small", resolution=32)))
    sizes = {}
    for precision in ("float32", "weights8"):
        for each in (onnx_files, ir):
            folder = tmp_path / precision / each.__name__
            folder.mkdir(parents=True)
            each.write(shipped, folder, precision, {})  # type: ignore[attr-defined]
            sizes[precision, each] = sum(part.stat().st_size for part in folder.iterdir())
    for each in (onnx_files, ir):
        assert 0.24 < sizes["weights8", each] / sizes["float32", each] < 0.29


@pytest.mark.slow
def test_openvino_is_told_in_the_file_to_round_no_activations(tmp_path: Path) -> None:
    import openvino

    shipped = Shipped(lively(shortened(create_spec("mobilenet_v2", resolution=32, classes=5))))
    path, _ = ir.write(shipped, tmp_path, "weights8", {})
    compiled = openvino.Core().compile_model(path, "CPU")  # as an app opens it, without a setting
    assert int(compiled.get_property(ir.DYNAMIC)) == 0
    assert int(openvino.Core().get_property("CPU", ir.DYNAMIC)) > 0  # what it is without that
    assert ir.ran(path, 1)["precisions"].keys() == {"float32"}


@pytest.fixture(scope="module")
def exported8(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle with float32 and weights8 of onnx, openvino and web. Not to be changed."""
    folder = tmp_path_factory.mktemp("weights8") / "bundle"
    export(run, folder, ("onnx", "openvino", "web"), ("float32", "weights8"))
    return folder


@pytest.fixture
def copied(exported8: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(exported8, tmp_path / "bundle")


@pytest.mark.slow
def test_the_gate_passes_them(exported8: Path, colours: Path) -> None:
    found = verify(exported8, colours, min_agreement=0.93, max_drop=0.05)  # no training's luck, please
    assert found["ok"], [row["reasons"] for row in found["files"]]
    rows = [row for row in found["files"] if row["precision"] == "weights8"]
    assert [row["runtime"] for row in rows] == ["onnx", "openvino", "web"]
    for row in rows:
        assert row["stored"] > 0.9
        assert 0 < row["max_relative_error"] < 0.2
        assert row["thresholds"]["max_relative_error"] is None
    assert "| weights8 |" in (exported8 / "MODEL_CARD.md").read_text()
    assert "int8 weights alone" in (exported8 / "MODEL_CARD.md").read_text()
    listed = [row["precision"] for row in json.loads((exported8 / "web/page.json").read_text())["models"]]
    assert listed == ["float32", "weights8"]
    assert (exported8 / "web/weights8/model.onnx").read_bytes() == (
        exported8 / FILE.format("onnx", "onnx")
    ).read_bytes()


@pytest.mark.slow
def test_the_gate_refuses_what_is_no_such_file(copied: Path, colours: Path) -> None:
    one, other = FILE.format("onnx", "onnx"), FILE.format("web", "onnx")
    replace_file(copied, one, (copied / "onnx/float32/model.onnx").read_bytes())
    edit_model(copied, coarse, other)
    rows = {row["path"]: row for row in verify(copied, colours)["files"]}
    assert rows[one]["reasons"] == ["it is called weights8, but holds 0% of its weights so"]
    assert rows[other]["stored"] > 0.9
    assert any(reason.startswith("it agrees with the network on 0.") for reason in rows[other]["reasons"])


def coarse(graph: Any) -> None:
    """As if the weights were -1, 0 and 1."""
    for each in graph.initializer:
        if each.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(each).astype(np.int16)
            coarser = (np.rint(values / 127) * 127).astype(np.int8)
            each.CopyFrom(numpy_helper.from_array(coarser, each.name))


@pytest.mark.slow
def test_a_wrong_scale_is_no_bundle(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden images hold the file to the rounded network as tightly as a float32 file to the float one."""

    def widened(weight: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
        values, scale = integers(weight, axis)
        return values, (scale * np.float32(1.02)).astype(np.float32)

    right = rounded(Shipped(load(run).network))
    monkeypatch.setattr("mobilenets.deploy.export.rounded", lambda module: right)
    monkeypatch.setattr("mobilenets.deploy.runtimes.weight_only.integers", widened)
    with pytest.raises(RuntimeError, match=r"the onnx weights8 file gives \(3, 3\) logits that differ by"):
        export(run, tmp_path / "bundle", ("onnx",), ("weights8",))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_a_quantised_run_exports_them_of_its_float_network(run: Path, exported8: Path, tmp_path: Path) -> None:
    quantize(run, tmp_path / "int8")
    (row,) = export(tmp_path / "int8", tmp_path / "bundle", ("onnx",), ("weights8",))["files"]
    assert row["path"] == FILE.format("onnx", "onnx")
    assert (tmp_path / "bundle" / row["path"]).read_bytes() == (exported8 / row["path"]).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["onnx", "litert"])
def test_such_files_are_read_back_as_weights(place: str, tmp_path: Path) -> None:
    if place == "litert":
        pytest.importorskip("litert_torch")
    shipped = Shipped(lively(create_spec("mobilenet_v1_025", resolution=64, classes=10)))
    path, _ = runtime(place).write(shipped, tmp_path, "weights8", {})
    network = load(path)
    assert network.source["recognised"]["quantisation"].startswith("int8, per channel")
    images = pictures(2, 64)
    expected = run_torch(rounded(shipped), images)
    assert np.abs(network.logits(images) - expected).max() < 1e-4 * np.abs(expected).max()


def test_what_ran_is_held_to_what_it_computes_in() -> None:
    ran: Ran = {"operators": {"Conv": 3}, "precisions": {"float32": 3}, "notes": []}
    assert promised(ran, "weights8") == []
    assert promised({**ran, "precisions": {"int8": 3}}, "weights8") == ["nothing is computed in float32, but in int8"]


def test_every_list_of_precisions_has_them_all() -> None:
    from mobilenets.drawing import speeds

    root = Path(__file__).parents[2]
    schema = json.loads((root / "docs/schemas/bundle.json").read_text())
    assert schema["properties"]["models"]["items"]["properties"]["precision"]["enum"] == list(gates.GATES)
    assert list(gates.GOLDEN) == list(gates.GATES) == list(speeds._COLOURS)
    assert len(set(speeds._COLOURS.values())) == len(gates.GATES)
    view = (root / "src/mobilenets/deploy/page/static/view.js").read_text()
    assert all(f'{name}: "' in view for name in runtime("web").precisions)
    for name in SUFFIXES:
        assert "weights8" in runtime(name).precisions
        assert not math.isnan(gates.GOLDEN["weights8"])
    assert not any("weights8" in runtime(name).precisions for name in ("ncnn", "executorch", "coreml", "torch"))
