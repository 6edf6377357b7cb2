"""ONNX files: parity for every family, one quiet deterministic file, and clear words when something is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from lively import FAMILIES, assert_parity, lively, pictures, shortened

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Padding, with_blocks
from mobilenets.deploy.runtimes.onnx import ONNX, OPSET, OnnxSession, onnx_model
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError


@pytest.mark.parametrize("name", FAMILIES)
def test_the_file_computes_what_the_network_computes(name: str, tmp_path: Path) -> None:
    facts = assert_parity(ONNX, shortened(create_spec(name, resolution=64, classes=5)), tmp_path, ["model.onnx"])
    assert facts["opset"] == OPSET


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_exports(name: str, padding: Padding, tmp_path: Path) -> None:
    spec = create_spec(name, width=0.5, resolution=96, classes=5, padding=padding)
    assert_parity(ONNX, spec, tmp_path, ["model.onnx"])


def test_the_graph_is_lean(exported: Path) -> None:
    model = onnx.load(exported / "onnx/float32/model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    assert "ReduceMean" not in kinds
    assert kinds == {"Transpose", "Cast", "Sub", "Conv", "Clip", "GlobalAveragePool", "Reshape", "Gemm"}
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert model.producer_name == "mobilenets"


@pytest.mark.parametrize(
    ("padding", "pad", "pads"),
    [("symmetric", None, [1, 1, 1, 1]), ("same", None, [0, 0, 1, 1]), ("symmetric", (2, 0, 1, 1), [1, 2, 1, 0])],
)
def test_padding_is_the_convolutions_own(
    padding: Padding, pad: tuple[int, int, int, int] | None, pads: list[int]
) -> None:
    """No Pad stands in the graph, whatever differs from side to side; ONNX's order is top, left, bottom, right."""
    spec = create_spec("mobilenet_v2", width=0.35, resolution=64, classes=3, padding=padding)
    spec = with_blocks(spec, (replace(spec.blocks[0], pad=pad), *spec.blocks[1:4]))
    graph = onnx_model(Shipped(lively(spec))).graph
    assert "Pad" not in {node.op_type for node in graph.node}
    first = next(node for node in graph.node if node.op_type == "Conv")
    assert next(list(a.ints) for a in first.attribute if a.name == "pads") == pads


def test_nothing_of_the_exporting_machine_is_in_the_file(exported: Path) -> None:
    data = (exported / "onnx/float32/model.onnx").read_bytes()
    for word in (str(Path(__file__).resolve().parents[2]), sys.prefix, "stack_trace", "site-packages"):
        assert word.encode() not in data


def test_properties_say_what_the_file_is(exported: Path) -> None:
    model = onnx.load(exported / "onnx/float32/model.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found["labels"] == '["amber", "blue", "cyan"]'
    assert found["resolution"] == "32"
    assert found["network"] == "mobilenet_v1_shallow_025"
    assert {"mean", "std", "input", "output", "resize"} <= found.keys()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_exporter_is_one_line(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    shipped = Shipped(lively(create_spec("mobilenet_v1_025", resolution=32, classes=3)))
    with pytest.raises(UserError, match=rf'{missing} is not installed; run: pip install "mobilenets\[onnx\]"'):
        ONNX.write(shipped, tmp_path, "float32", {})


def test_a_missing_runtime_is_one_line(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'pip install "mobilenets\[onnx\]"'):
        ONNX.open(exported / "onnx/float32/model.onnx", None)


def test_files_that_are_no_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model at all")
    with pytest.raises(UserError, match=r"a\.onnx: not a model that onnxruntime opens"):
        OnnxSession(tmp_path / "a.onnx", None)
    with pytest.raises(UserError, match=r"b\.onnx: no such file"):
        OnnxSession(tmp_path / "b.onnx", None)


def test_another_contract_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["input"], ["out"])],
        "other",
        [value("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("out", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"takes and gives input tensor\(float\)"):
        OnnxSession(tmp_path / "other.onnx", None)


def test_threads_do_not_change_the_answer(exported: Path) -> None:
    images = pictures(2, 32)
    one, two = (OnnxSession(exported / "onnx/float32/model.onnx", n).run(images) for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
