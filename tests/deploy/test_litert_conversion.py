"""LiteRT files by the converter: parity for every family, no dead operators, the same bytes, nothing on the console."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from lively import assert_close, lively, pictures

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Padding, Spec, with_blocks
from mobilenets.compress.static import quantise
from mobilenets.deploy.litert.file import operator_kinds
from mobilenets.deploy.load import TorchSession, run_torch
from mobilenets.deploy.runtimes.litert import LitertSession, ran, stored, write
from mobilenets.deploy.wrap import Shipped

pytestmark = pytest.mark.slow  # each conversion takes about ten seconds, however small the network
pytest.importorskip("litert_torch")  # which no extra installs


def beginning(name: str, blocks: int, padding: Padding = "symmetric") -> Spec:
    """The first blocks of a network and its head, at 64 pixels."""
    spec = create_spec(name, resolution=64, classes=5, padding=padding)
    return with_blocks(spec, spec.blocks[:blocks])


def kinds(path: Path) -> set[str]:
    """The operators of a file."""
    names = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).operatorCodes
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}


@pytest.mark.parametrize(
    ("spec", "activation"),
    [
        (beginning("mobilenet_v1_025", 4, "same"), set()),
        (beginning("mobilenet_v3_small", 5), {"HARD_SWISH", "MUL", "ADD"}),
        (beginning("mobilenet_v4_conv_small", 6, "same"), set()),
    ],
    ids=lambda value: value.name if isinstance(value, Spec) else "",
)
def test_the_file_computes_what_the_network_computes(
    spec: Spec, activation: set[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = lively(spec)
    path, facts = write(Shipped(network), tmp_path, "float32", {"network": spec.name})
    assert facts["batch"] == 1
    images = pictures(3, 64)
    assert_close(LitertSession(path, 1).run(images), TorchSession(network).run(images))
    padded = {"PAD"} if spec.padding == "symmetric" else set()
    plain = {"CAST", "SUB", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED"}
    assert kinds(path) == plain | padded | activation
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tflite"]
    assert capfd.readouterr() == ("", "")


def test_float16_and_the_same_bytes(tmp_path: Path) -> None:
    network = lively(beginning("mobilenet_v2", 5))
    shipped = Shipped(network)
    written = [write(shipped, folder, "float16", {})[0] for folder in _folders(tmp_path, 2)]
    assert written[0].read_bytes() == written[1].read_bytes()
    images = pictures(2, 64)
    found, expected = LitertSession(written[0], 1).run(images), TorchSession(network).run(images)
    assert np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()
    counts = stored(written[0])
    assert counts["float16"] > 0.9 * sum(counts.values())


def test_int8_computes_in_integers(tmp_path: Path) -> None:
    shipped = Shipped(lively(beginning("mobilenet_v2", 5)))
    images = pictures(16, 64)
    quantised = quantise(shipped, images)
    path, _ = write(quantised, tmp_path, "int8", {})
    found, expected = LitertSession(path, 1).run(images[:4]), run_torch(quantised, images[:4])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    counts = stored(path)
    assert counts["int8"] > 0.9 * sum(counts.values())
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    floats = [tensor.name.decode() for tensor in graph.tensors if tensor.type == schema.TensorType.FLOAT32]
    assert sorted(floats) == ["cast_0", "logits", "sub_1", "sub_1/1"]  # the normalisation, and the output


def _folders(path: Path, count: int) -> list[Path]:
    folders = [path / str(index) for index in range(count)]
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.mark.parametrize("blocks", [2, 5], ids=["residual behind the stem", "squeeze-and-excite"])
def test_hard_swish_in_int8_is_left_to_no_slow_kernel(blocks: int, tmp_path: Path) -> None:
    """V3-Large's stem goes into a residual sum, where hard-swish itself is needed; elsewhere six times it will do."""
    spec = beginning("mobilenet_v3_large" if blocks == 2 else "mobilenet_v3_small", blocks)
    shipped = Shipped(lively(spec))
    images = pictures(32, 64)
    quantised = quantise(shipped, images)
    path, _ = write(quantised, tmp_path, "int8", {})
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    assert "HARD_SWISH" not in {*operator_kinds(model)}
    assert [note for note in ran(path, 1)["notes"] if "HARD_SWISH" in note] == []
    found, expected = LitertSession(path, 1).run(images), run_torch(quantised, images)
    plain = run_torch(shipped, images)
    assert np.square(found - plain).mean() < 1.5 * np.square(expected - plain).mean()  # no worse than int8 itself
    swishes = sum(1 for node in quantised.network.graph.nodes if node.target is torch.ops.aten.hardswish.default)
    gates = sum(block.c_se > 0 for block in spec.blocks)  # a product in each, and one in its hard-sigmoid
    sums = 1 if blocks == 2 else 0
    assert operator_kinds(model).count("MUL") == swishes + sums + 2 * gates
