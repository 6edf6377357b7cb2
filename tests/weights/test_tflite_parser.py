"""Damaged, foreign and hostile TFLite files: one clear line, nothing else raised, no memory for mere declarations."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from tflite_writer import Writer, archive, metadata

from mobilenets.errors import UserError
from mobilenets.weights import tflite
from mobilenets.weights.graph import Source


def small() -> Writer:
    """A quantised convolution, a pool and a linear layer in real numbers."""
    rng = np.random.default_rng(5)
    w = Writer()
    x = w.tensor("image", (1, 8, 8, 3), np.uint8, scale=[1 / 128], zero=[128])
    weight = w.constant("kernel", rng.integers(0, 255, (4, 3, 3, 3)).astype(np.uint8), scale=[0.02], zero=[120])
    bias = w.constant("bias", rng.integers(-99, 99, 4).astype(np.int32), scale=[0.02 / 128], zero=[0])
    y = w.tensor("maps", (1, 4, 4, 4), np.uint8, scale=[6 / 255], zero=[0])
    w.conv(x, weight, bias, y, stride=2, fusedActivationFunction=3)
    real = w.op("DEQUANTIZE", [y], w.tensor("real", (1, 4, 4, 4)))
    mean = w.op("MEAN", [real, w.constant("axes", np.int32([1, 2]))], w.tensor("mean", (1, 4)), table="ReducerOptions")
    matrix, offset = (
        w.constant("matrix", rng.normal(size=(2, 4)).astype(np.float32)),
        w.constant("offset", np.ones(2, np.float32)),
    )
    out = w.op("FULLY_CONNECTED", [mean, matrix, offset], w.tensor("logits", (1, 2)), table="FullyConnectedOptions")
    w.metadata("TFLITE_METADATA", metadata(labels="labels.txt"))
    w.graph.outputs = [out]
    return w


@pytest.fixture(scope="module")
def data() -> bytes:
    w = small()
    return w.file([0], w.graph.outputs) + archive(labels__txt=b"no\nyes\n")


def seen(source: Source) -> str:
    """All that was read, numbers included."""
    graph = source.graph
    assert graph is not None
    weights = [{role: values.tolist() for role, values in node.weights.items()} for node in graph.nodes]
    return f"{source} {weights}"


def read(tmp_path: Path, data: bytes) -> Source | UserError:
    """What comes of a file with these bytes; anything but a Source or one line that names the file fails."""
    path = tmp_path / "small.tflite"
    path.write_bytes(data)
    try:
        return tflite.read(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return error


def test_the_whole_file_is_read(tmp_path: Path, data: bytes) -> None:
    source = read(tmp_path, data)
    assert isinstance(source, Source)
    assert source.labels == ("no", "yes")
    assert source.graph is not None
    assert [node.op for node in source.graph.nodes] == ["conv", "act", "same", "pool", "linear"]


def test_a_file_cut_short_anywhere_is_refused_or_the_same(tmp_path: Path, data: bytes) -> None:
    whole, refused = seen(tflite.read(_write(tmp_path, data))), 0
    for cut in range(len(data) % 2, len(data), 2):
        result = read(tmp_path, data[:cut])
        refused += isinstance(result, UserError)
        assert isinstance(result, UserError) or seen(result) == whole
    assert refused >= len(data) // 2 - 4


def test_bytes_changed_anywhere_are_refused_or_read(tmp_path: Path, data: bytes) -> None:
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(800):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
        refused += isinstance(read(tmp_path, bytes(changed)), UserError)
    assert refused > 100  # and the others changed a number or a name, or nothing that counts


def test_every_offset_out_of_bounds_is_refused_or_read(tmp_path: Path, data: bytes) -> None:
    refused = 0
    for place in range(0, len(data) - 4, 4):
        for value in (0xFFFFFFFF, len(data)):
            changed = data[:place] + struct.pack("<I", value) + data[place + 4 :]
            refused += isinstance(read(tmp_path, changed), UserError)
    assert refused > 150


def _write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no TFLite file"),
        (b"PK\x03\x04" + bytes(100), "is no TFLite file"),
        (b"\x1c\x00\x00\x00TFL3", "breaks off or is damaged"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), "breaks off or is damaged"),
        (b"\x08\x00\x00\x00TFL3" + bytes(100), "points outside itself"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = _write(tmp_path, data)
    with pytest.raises(UserError, match=f"small.tflite: {message}"):
        tflite.read(path)
    assert tflite.matches(path) == (data[4:8] == b"TFL3")


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        assert not tflite.matches(path)
        with pytest.raises(UserError, match="cannot be read"):
            tflite.read(path)


def test_a_shape_that_its_bytes_do_not_fill_costs_nothing(tmp_path: Path) -> None:
    w = small()
    w.graph.tensors[1].shape = [2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1]
    path = _write(tmp_path, w.file([0], w.graph.outputs))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"tensor 'kernel' has 108 bytes, which is not UINT8 \[2147483647,"):
        tflite.read(path)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


def test_one_buffer_under_a_thousand_tensors_costs_nothing(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", (1, 4, 4, 4))
    first = w.constant("big", np.zeros(2**16, np.float32))
    for k in range(1000):
        w.graph.tensors[w.tensor(f"again {k}", (2**16,))].buffer = w.graph.tensors[first].buffer
    path = _write(tmp_path, w.file([x], [w.op("RELU", [x], w.tensor("y", (1, 4, 4, 4)))]))
    with pytest.raises(UserError, match="declares far more than it holds"):
        tflite.read(path)


def test_contradictions_are_named(tmp_path: Path) -> None:
    def refused(change: str, message: str) -> None:
        w = small()
        kernel = w.graph.tensors[1]
        if change == "zero points":
            kernel.quantization.zeroPoint = []
        elif change == "axis":
            kernel.quantization.scale, kernel.quantization.zeroPoint = [0.1] * 3, [0] * 3
        elif change == "scale":
            kernel.quantization.scale = [float("nan")]
        elif change == "no scale":
            kernel.quantization = None
        elif change == "order":
            w.graph.operators.reverse()
        elif change == "index":
            w.graph.operators[0].inputs[0] = 99
        elif change == "twice":
            w.graph.operators.append(w.graph.operators[0])
        elif change == "input":
            w.graph.tensors[0].quantization = None
        with pytest.raises(UserError, match=f"small.tflite: .*{message}"):
            tflite.read(_write(tmp_path, w.file([0], w.graph.outputs)))

    refused("zero points", "tensor 'kernel' has 1 scales and 0 zero points")
    refused("axis", r"tensor 'kernel' has 3 scales along dimension 0 of \[4, 3, 3, 3\]")
    refused("scale", "tensor 'kernel' has a scale that is no size")
    refused("no scale", "the weights 'kernel' are UINT8, and no real numbers")
    refused("order", "FULLY_CONNECTED takes 'mean' before anything has made it")
    refused("index", "names tensor 99 of 10")
    refused("twice", "CONV_2D gives nothing of its own")
    refused("input", "the bias 'bias' is INT32, and its input or its weights are not quantised")


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    w = Writer()
    x, z = w.tensor("x", (1, 4, 4, 3)), w.tensor("z", (1, 4, 4, 3))
    y = w.op("ADD", [x, z], w.tensor("y", (1, 4, 4, 3)), table="AddOptions")
    with pytest.raises(UserError, match="has 2 inputs and 1 outputs; one image goes in"):
        tflite.read(_write(tmp_path, w.file([x, z], [y])))


def test_without_the_package_the_extra_is_named(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(UserError, match=r'needs tflite: pip install "mobilenets\[weights\]"'):
        tflite.read(_write(tmp_path, data))


def test_open_sizes_are_zero(tmp_path: Path) -> None:
    w = Writer()
    x = w.tensor("x", (1, 1, 1, 3), signature=(-1, -1, -1, 3))
    weight = w.constant("weight", np.ones((2, 3, 3, 3), np.float32))
    y = w.conv(x, weight, -1, w.tensor("y", (1, 1, 1, 2), signature=(-1, -1, -1, 2)), stride=2)
    source = tflite.read(_write(tmp_path, w.file([x], [y])))
    assert source.graph is not None
    assert (source.graph.height, source.graph.width, source.graph.channels) == (0, 0, 3)
    assert source.normalisation is not None
