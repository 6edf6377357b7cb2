"""LiteRT files without a conversion: what is written around the converter's records, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from lively import lively, pictures
from tiny_tflite import CLASSES, SIZE, WEIGHT, tiny_logits, tiny_model

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Preprocessing, Spec
from mobilenets.deploy.litert.file import tflite
from mobilenets.deploy.litert.kotlin import kotlin_class
from mobilenets.deploy.litert.quiet import quiet
from mobilenets.deploy.litert.weights import halve_
from mobilenets.deploy.manifest import decision, preprocessing_contract, properties
from mobilenets.deploy.runtimes.litert import LITERT, LitertSession, examples, stored
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError
from mobilenets.weights.tflite.metadata import read_metadata

LABELS = [{"name": name} for name in ("amber", "blå", "red\nfox")]
ALONE = (
    "import runpy, sys; sys.modules['torch'] = sys.modules['mobilenets'] = None; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def tiny_spec() -> Spec:
    return create_spec("mobilenet_v1_shallow", width=0.25, resolution=32, classes=CLASSES)


def write_tiny(path: Path, model: Any, labels: list[dict[str, str]] = LABELS) -> Path:
    spec = tiny_spec()
    path.write_bytes(tflite(model, spec, properties(spec, labels)))
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "model.tflite", tiny_model())


def test_any_number_of_images_runs(tiny: Path) -> None:
    session = LitertSession(tiny, 1)
    for count in (1, 3):
        images = pictures(count, SIZE)
        np.testing.assert_allclose(session.run(images), tiny_logits(images), rtol=1e-5)


def test_the_file_is_the_same_each_time(tiny: Path, tmp_path: Path) -> None:
    assert write_tiny(tmp_path / "again.tflite", tiny_model()).read_bytes() == tiny.read_bytes()


def test_names_are_ours(tiny: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(tiny.read_bytes(), 0)
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert names == ["image", "cast_0", "mean_1/1", "mean_1", "fully_connected_2/1", "logits"]
    signature = model.signatureDefs[0]
    assert (signature.inputs[0].name, signature.outputs[0].name) == (b"image", b"logits")


def test_constants_lie_on_multiples_of_16_bytes(tiny: Path) -> None:
    data = tiny.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    places = [each._tab.Vector(each._tab.Offset(4)) for each in buffers if each.DataLength()]
    assert len(places) == 3  # the axes, the weight, the metadata
    assert [place % 16 for place in places] == [0, 0, 0]


def test_float16_halves_the_weights_alone(tmp_path: Path) -> None:
    model = tiny_model()
    halve_(model)
    path = write_tiny(tmp_path / "half.tflite", model)
    assert stored(path) == {"float16": WEIGHT.size}
    images = pictures(2, SIZE)
    found, expected = LitertSession(path, None).run(images), tiny_logits(images)
    assert 0 < np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_an_integer_output_becomes_float(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "int8.tflite", tiny_model(integer_output=True))
    images = pictures(2, SIZE)
    found = LitertSession(path, 1).run(images)
    np.testing.assert_allclose(found, np.clip(tiny_logits(images), -256, 254), atol=1.001)
    np.testing.assert_array_equal(found % 2, 0)


def test_metadata_say_what_android_asks_for(tiny: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(tiny.read_bytes(), 0)
    (entry,) = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    buffer = bytes(model.buffers[entry.buffer].data)
    found = read_metadata(buffer, tiny.read_bytes())
    assert found.name == "mobilenet_v1_shallow_025"
    assert (found.mean, found.std) == ((0.0,), (1.0,))
    assert found.labels == ("amber", "blå", "red fox")
    assert f"mean {list(tiny_spec().preprocessing.mean)}".encode() in buffer
    assert b"image\0" in buffer
    assert b"logits\0" in buffer


def test_labels_stand_behind_the_model_as_they_are(tiny: Path) -> None:
    with zipfile.ZipFile(tiny) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(entry).decode() == "amber\nblå\nred fox\n"
    data = tiny.read_bytes()
    assert data[entry.header_offset : entry.header_offset + 4] == b"PK\3\4"  # counted from the file's first byte


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.97, 0.999])
def test_a_truncated_file_is_named(share: float, tiny: Path) -> None:
    data = tiny.read_bytes()
    tiny.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"model\.tflite: (not a model that LiteRT opens|breaks off)"):
        LitertSession(tiny, 1)


def test_files_that_are_no_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"no model at all, but long enough for one")
    with pytest.raises(UserError, match=r"a\.tflite: not a model that LiteRT opens"):
        LitertSession(tmp_path / "a.tflite", None)
    with pytest.raises(UserError, match=r"b\.tflite: no such file"):
        LitertSession(tmp_path / "b.tflite", None)


def test_another_contract_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "float.tflite", tiny_model(input_type="float32"))
    with pytest.raises(UserError, match=r"float\.tflite: takes and gives image float32 of 4 dimensions, logits"):
        LitertSession(path, None)


def test_what_is_missing_is_one_line(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Shipped(lively(tiny_spec()))
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(UserError, match=r"litert_torch is not installed; run: pip install litert-torch; then"):
        LITERT.write(shipped, tmp_path, "float32", {})
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r'pip install "mobilenets\[litert\]"'):
        LITERT.open(tiny, None)


def test_quiet_keeps_c_from_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"chatter")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


@pytest.mark.parametrize("half", [False, True])
def test_the_example_predicts_alone(half: bool, tmp_path: Path) -> None:
    model = tiny_model()
    if half:
        halve_(model)
    path = write_tiny(tmp_path / "model.tflite", model)
    pre = Preprocessing(resolution=SIZE, crop_fraction=1.0)
    spec = replace(tiny_spec(), preprocessing=pre)
    manifest = {
        "name": spec.name,
        "spec": spec.to_json(),
        "labels": [{"name": name} for name in ("a", "b", "c")],
        "preprocessing": preprocessing_contract(pre),
        "decision": decision() | {"temperature": 50.0},
    }
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    source = examples(manifest, "model.tflite")["example_litert.py"]
    assert len(source.splitlines()) < 40
    (tmp_path / "example_litert.py").write_text(source)
    image = pictures(1, SIZE)
    cv2.imwrite(str(tmp_path / "x.png"), image[0, :, :, ::-1])
    command = [sys.executable, "-c", ALONE, str(tmp_path / "example_litert.py"), str(tmp_path / "x.png")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    logits = LitertSession(path, 1).run(image)[0] / 50
    scores = np.exp(logits) / np.exp(logits).sum()
    expected = [f"{'abc'[i]}\t{scores[i]:.4f}" for i in np.argsort(-scores)]
    assert [line.split("\t", 1)[1] for line in ended.stdout.splitlines()] == expected


@pytest.mark.parametrize("resize", ["shortest", "squash", "central"])
@pytest.mark.parametrize("interpolation", ["area_linear", "bilinear", "bicubic"])
def test_the_kotlin_class_has_the_manifests_numbers(resize: Any, interpolation: Any) -> None:
    pre = Preprocessing(resolution=112, crop_fraction=0.9, resize=resize, interpolation=interpolation)
    contract = preprocessing_contract(pre)
    manifest = {"name": "some_net", "preprocessing": contract, "labels": LABELS, "decision": decision()}
    source = kotlin_class(manifest, "litert/float16/model.tflite")
    numbers = dict(re.findall(r"const val (\w+) = ([\d.]+)", source))
    expected = {"SIZE": 112, "CLASSES": 3}
    expected |= {"shortest": {"SHORT": contract["short_side"]}, "squash": {}, "central": {"FRACTION": 0.9}}[resize]
    assert {name: float(value) for name, value in numbers.items()} == expected
    assert "some_net" in source
    assert "litert/float16/model.tflite" in source
    assert source.count("{") == source.count("}")
    used = {"area_linear": "area(", "bilinear": "max(0.0, 1.0 - abs(x))", "bicubic": "(1.5 * d - 2.5)"}
    assert [name for name, text in used.items() if text in source] == [interpolation]
