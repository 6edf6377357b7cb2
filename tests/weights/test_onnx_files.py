"""Damaged, dangerous and other files than ONNX models: one line each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import CONV, END, WEIGHTS, both, difference, floats, make

from mobilenets.errors import UserError
from mobilenets.weights.onnx import matches, open_reference, read


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_a_cut_file(tmp_path: Path, kept: float) -> None:
    path = make(tmp_path / "a.onnx", [CONV], {"w": floats(64, 3, 3, 3), "b": floats(64)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "not an ONNX model" in refusal(path)


@pytest.mark.parametrize("data", [b"", b"\x08", b"PK\3\4" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(100), b"{}" * 50])
def test_other_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    assert "not an ONNX model" in refusal(path)
    assert "No such file" in refusal(tmp_path / "absent.onnx")


def test_noise_never_escapes_as_a_fault(tmp_path: Path) -> None:
    """Bytes changed at random: a network is read, or one line says why not."""
    path = make(tmp_path / "a.onnx", [CONV, ("Relu", "c", "y", {}), *END], WEIGHTS)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = passed = 0
    for _ in range(300):
        changed = data.copy()
        changed[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(changed.tobytes())
        try:
            read(path)
        except UserError as error:
            refused += "\n" not in str(error)
        else:
            passed += 1
    assert refused + passed == 300
    assert refused > 20
    assert passed > 20


def test_a_tensor_of_another_length_than_its_shape(tmp_path: Path) -> None:
    model = onnx.load(str(make(tmp_path / "a.onnx", [CONV], WEIGHTS)))
    model.graph.initializer[0].dims[0] = 7
    onnx.save(model, str(tmp_path / "a.onnx"))
    assert "'w' is damaged" in refusal(tmp_path / "a.onnx")


def external(tmp_path: Path) -> tuple[Path, Any]:
    path = make(tmp_path / "a.onnx", [CONV, ("Relu", "c", "y", {}), *END], WEIGHTS)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    return path, onnx.load(str(path), load_external_data=False)


def test_weights_in_a_file_beside_it(tmp_path: Path) -> None:
    path, _ = external(tmp_path)
    assert path.stat().st_size < 1000
    _, ours, theirs = both(path)
    assert difference(ours, theirs) < 1e-5
    place = tmp_path / "w.bin"
    place.write_bytes(place.read_bytes()[:100])
    assert "'w.bin' is cut off" in refusal(path)
    place.unlink()
    assert "'w.bin', which is not beside it" in refusal(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", "..\\secret.bin", ""])
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path, model = external(folder)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    assert "outside the model's folder" in refusal(path)


def test_a_file_beyond_two_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # no byte of it is stored
    assert "at most 2,147,483,647" in refusal(path)


def test_other_networks_than_of_images(tmp_path: Path) -> None:
    path = make(tmp_path / "a.onnx", [("Relu", "x", "y", {})], {}, shape=("N", 20))
    assert "2 dimensions; images have 4" in refusal(path)
    model = onnx.load(str(make(tmp_path / "b.onnx", [("Add", "x z", "y", {})], {})))
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3, 8, 8]))
    onnx.save(model, str(tmp_path / "b.onnx"))
    assert "takes 2 inputs (x, z)" in refusal(tmp_path / "b.onnx")
    path = make(tmp_path / "c.onnx", [("Add", "x missing", "y", {})], {})
    assert "'missing', which nothing before it gives" in refusal(path)


def test_what_is_taken_for_onnx(tmp_path: Path, shared: Path) -> None:
    path = make(tmp_path / "a.onnx", [CONV], WEIGHTS)
    assert matches(path)
    assert matches(path.rename(tmp_path / "model"))
    assert matches(shared / "weights/onnx/mobilefacenet_112/MobileFaceNet.onnx")
    assert not matches(tmp_path)
    assert not matches(tmp_path / "absent.onnx")
    for other in sorted((shared / "weights").glob("*/*/*")):
        if other.is_file() and other.suffix in (".tflite", ".h5", ".caffemodel", ".prototxt", ".json", ".bin"):
            assert not matches(other), other


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.onnx", [CONV], WEIGHTS)
    source = read(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert open_reference(path, source) is None
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r'needs onnx: pip install "mobilenets\[weights\]"'):
        read(path)


def test_onnxruntime_says_what_it_cannot_run(tmp_path: Path) -> None:
    path = make(tmp_path / "a.onnx", [CONV, ("Relu", "c", "y", {}), *END], WEIGHTS)
    source = read(path)
    run = open_reference(path, source)
    assert run is not None
    with pytest.raises(UserError, match="onnxruntime does not run it"):
        run(np.zeros((1, 5, 8, 3), np.uint8))
