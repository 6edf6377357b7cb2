"""int8 in ONNX and OpenVINO: what becomes integer, and how near it comes to the quantised network; OpenVINO's files."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lively import lively, pictures, shortened

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import with_blocks
from mobilenets.compress.quantised import Quantised
from mobilenets.compress.static import quantise
from mobilenets.deploy.export import export
from mobilenets.deploy.load import run_torch
from mobilenets.deploy.runtimes import openvino as ir
from mobilenets.deploy.runtimes.onnx import OnnxSession, write
from mobilenets.deploy.runtimes.onnx import stored as stored_in_onnx
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError


def integer(name: str, **settings: Any) -> tuple[Shipped, Quantised]:
    """A network with one block of each sort, and its int8 form."""
    shipped = Shipped(lively(shortened(create_spec(name, resolution=48, classes=5, **settings))))
    return shipped, quantise(shipped, pictures(32, 48))


def sqnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Signal to error in dB."""
    return float(10 * np.log10(expected.var() / (found - expected).var()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_hybrid_medium"])
def test_each_family_computes_what_the_quantised_network_computes(name: str, tmp_path: Path) -> None:
    """Rounding that differs by one step spreads in these networks, as quantisation itself does: the file's distance
    from the quantised network is held against that one's distance from the float network."""
    shipped, quantised = integer(name, padding="same")
    images = pictures(16, 48)
    expected, plain = run_torch(quantised, images), run_torch(shipped, images)
    cost = sqnr(expected, plain)
    assert cost > 8
    for place in ("onnx", "openvino"):
        (tmp_path / place).mkdir()
    in_onnx = write(quantised, tmp_path / "onnx", "int8", {})[0]
    in_openvino = ir.write(quantised, tmp_path / "openvino", "int8", {})[0]
    assert sqnr(OnnxSession(in_onnx, 1).run(images), expected) > cost - 3
    assert sqnr(ir.OpenVinoSession(in_openvino, 1).run(images), expected) > cost - 5  # its weights are coarser
    for counts in (stored_in_onnx(in_onnx), ir.stored(in_openvino)):
        assert counts["int8"] / sum(counts.values()) > 0.99


def optimised(path: Path, folder: Path) -> Counter[str]:
    """The operators that onnxruntime runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.slow
def test_every_convolution_becomes_an_integer_kernel(tmp_path: Path) -> None:
    _, quantised = integer("mobilenet_v3_small", padding="same")
    path, _ = write(quantised, tmp_path, "int8", {})
    kinds = optimised(path, tmp_path)
    assert kinds["QLinearConv"] > 20
    assert not {"Conv", "Gemm", "Pad", "Relu", "Clip", "GlobalAveragePool", "Add"} & kinds.keys()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_openvino_files_are_the_same_each_time(precision: str, tmp_path: Path) -> None:
    shipped, quantised = integer("mobilenet_v2")
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        ir.write(quantised if precision == "int8" else shipped, tmp_path / place, precision, {"labels": '["a b"]'})
    for name in ("model.xml", "model.bin"):
        assert filecmp.cmp(tmp_path / "one" / name, tmp_path / "two" / name, shallow=False)
    text = (tmp_path / "one/model.xml").read_text()
    assert '<labels value="a_b"' in text
    assert str(tmp_path) not in text
    assert "conversion_parameters" not in text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_float_files_of_openvino_and_onnx(precision: str, tmp_path: Path) -> None:
    shipped = Shipped(lively(shortened(create_spec("mobilenet_v3_small", resolution=48, classes=5))))
    images = pictures(3, 48)
    expected = run_torch(shipped, images)
    limit = {"float32": 1e-4, "float16": 1e-2}[precision] * np.abs(expected).max()
    (tmp_path / "onnx").mkdir()
    written = write(shipped, tmp_path / "onnx", precision, {})[0], ir.write(shipped, tmp_path, precision, {})[0]
    assert np.abs(OnnxSession(written[0], 1).run(images) - expected).max() <= limit
    assert np.abs(ir.OpenVinoSession(written[1], 1).run(images) - expected).max() <= limit
    for counts in (stored_in_onnx(written[0]), ir.stored(written[1])):
        assert counts[precision] / sum(counts.values()) > 0.99


@pytest.mark.slow
def test_bfloat16_computes_so_or_says_that_it_cannot(tmp_path: Path) -> None:
    import openvino

    spec = create_spec("mobilenet_v1_025", resolution=32, classes=3)  # its first blocks: random weights add rounding up
    shipped, images = Shipped(lively(with_blocks(spec, spec.blocks[:4]))), pictures(2, 32)
    path, _ = ir.write(shipped, tmp_path, "bfloat16", {})
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        expected = run_torch(shipped, images)
        error = np.abs(ir.OpenVinoSession(path, 1).run(images) - expected).max()
        assert 0 < error <= 5e-2 * np.abs(expected).max()
    else:
        with pytest.raises(UserError, match=r"model\.xml: this CPU does not compute in bfloat16"):
            ir.OpenVinoSession(path, 1)


def test_files_that_openvino_does_not_open_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("no model")
    with pytest.raises(UserError, match=r"a\.xml: not a bundle's model that OpenVINO opens"):
        ir.OpenVinoSession(tmp_path / "a.xml", None)
    with pytest.raises(UserError, match=r"b\.xml: no such file"):
        ir.OpenVinoSession(tmp_path / "b.xml", None)


@pytest.mark.slow
def test_the_openvino_program_predicts(run: Path, colours: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    export(run, bundle, ("openvino",), ("float16",))
    source = (bundle / "example_openvino.py").read_text()
    assert len(source.splitlines()) < 40
    assert "torch" not in source.split('"""')[2]
    image = next((colours / "val" / "blue").iterdir())
    answer = subprocess.run(
        [sys.executable, bundle / "example_openvino.py", image],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sum("\tunknown\t" not in line for line in answer.stdout.splitlines()) == 3
    assert json.loads((bundle / "bundle.json").read_text())["examples"] == ["example_openvino.py"]


def test_without_openvino_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r'openvino is not installed; run: pip install "mobilenets\[openvino\]"'):
        ir.OpenVinoSession(tmp_path / "model.xml", None)
