"""The programs in a bundle, run as a stranger runs them: without torch and without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from mobilenets.arch.spec import Interpolation, Preprocessing
from mobilenets.data.decode import decode_image
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.deploy.example import python_example
from mobilenets.deploy.predict import predict

ALONE = (
    "import runpy, sys; sys.modules['torch'] = sys.modules['mobilenets'] = None; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
SIDES = [(44, 56), (56, 44), (20, 24), (37, 100), (31, 36), (300, 211)]


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Photos of many shapes, larger and smaller than the network's input, one to be turned by its EXIF orientation."""
    rng = np.random.default_rng(5)
    paths = []
    for height, width in SIDES:
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        paths.append(str(tmp_path / f"{height}x{width}.jpg"))
        cv2.imwrite(paths[-1], picture)
    turned = Path(paths[0]).read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "turned.jpg").write_bytes(turned[:2] + segment + turned[2:])
    return [*paths, str(tmp_path / "turned.jpg")]


def test_it_prints_what_predict_answers(exported: Path, pictures: list[str]) -> None:
    command = [sys.executable, "-c", ALONE, str(exported / "example_onnx.py"), *pictures]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in ended.stdout.splitlines():
        source, label, score = line.split("\t")
        found.setdefault(source, []).append((label, score))
    expected = {}
    for row in predict(exported, pictures):
        answers = [(answer["label"], f"{answer['score']:.4f}") for answer in row["predictions"]]
        expected[row["source"]] = [("unknown", answers[0][1]), *answers] if row["unknown"] else answers
    assert found == expected
    assert len(expected) == len(pictures)


def test_a_picture_that_is_missing_or_none_is_said_in_one_line(
    exported: Path, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for bad in (tmp_path / "nowhere.png", tmp_path / "notes.txt"):
        ended = subprocess.run(
            [sys.executable, "-c", ALONE, str(exported / "example_onnx.py"), pictures[0], str(bad)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        said = [line for line in ended.stdout.splitlines() if "\tunknown\t" not in line]
        assert len(said) == 3  # the classes of the picture before it
        assert len(ended.stderr.splitlines()) == 1
        assert ended.stderr.startswith(f"error: {bad} ")


def test_a_reader_that_leaves_is_said_in_one_line(exported: Path, pictures: list[str]) -> None:
    command = [sys.executable, "-c", ALONE, str(exported / "example_onnx.py"), *pictures]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 2
    assert said.splitlines() == [f"error: {pictures[0]} [Errno 32] Broken pipe"]


def test_it_is_short(exported: Path) -> None:
    assert len((exported / "example_onnx.py").read_text().splitlines()) < 40


@pytest.mark.parametrize("resize", ["shortest", "squash", "central"])
@pytest.mark.parametrize("interpolation", ["area_linear", "bilinear", "bicubic"])
def test_it_resizes_and_crops_as_we_do(
    interpolation: Interpolation, resize: Literal["shortest", "squash", "central"], pictures: list[str]
) -> None:
    preprocessing = Preprocessing(resolution=32, crop_fraction=0.8, resize=resize, interpolation=interpolation)
    source = python_example(preprocessing, name="x", package="x", imports="import os", setup="stop", run="0")
    program = source.split("\n\n\nstop")[0].replace('(HERE / "bundle.json").read_text(encoding="utf-8")', '"{}"')
    names: dict[str, object] = {"__file__": __file__}
    exec(compile(program, "example", "exec"), names)
    load = names["load"]
    assert callable(load)
    for path in pictures:
        ours = resize_and_crop(decode_image(Path(path).read_bytes()), preprocessing)
        theirs = load(path)
        # Pillow rounds its kernels' weights to integers, which may move a pixel by one step
        np.testing.assert_allclose(
            theirs.astype(int), ours.astype(int), atol=0 if interpolation == "area_linear" else 1
        )
