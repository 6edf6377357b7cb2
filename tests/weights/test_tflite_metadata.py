"""The metadata behind a TFLite model: normalisation, labels, and archives that are no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from tflite_writer import Writer, archive, metadata

from mobilenets.errors import UserError
from mobilenets.weights import tflite
from mobilenets.weights.graph import Normalisation, Source


def model(meta: bytes = b"", appended: bytes = b"", dtype: Any = np.float32, **quantisation: Any) -> bytes:
    """A file of one convolution down to three values, with metadata and bytes behind it."""
    w = Writer()
    x = w.tensor("image", (1, 2, 2, 3), dtype, **quantisation)
    real = w.op("DEQUANTIZE", [x], w.tensor("real", (1, 2, 2, 3))) if quantisation else x
    if not quantisation and dtype != np.float32:
        real = w.op("CAST", [x], w.tensor("real", (1, 2, 2, 3)))
    weight = w.constant("weight", np.arange(36, dtype=np.float32).reshape(3, 2, 2, 3))
    bias = w.constant("bias", np.zeros(3, np.float32))  # LiteRT runs no convolution without
    y = w.conv(real, weight, bias, w.tensor("y", (1, 1, 1, 3)), padding=1)
    if meta:
        w.metadata("TFLITE_METADATA", meta)
    return w.file([x], [y]) + appended


def read(tmp_path: Path, data: bytes) -> Source:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return tflite.read(path)


def test_the_metadata_s_normalisation_counts_for_a_float_file(tmp_path: Path) -> None:
    source = read(tmp_path, model(metadata(mean=[123.5, 116.25, 103], std=[58.5, 57, 57.5], name="birds")))
    assert source.normalisation == Normalisation(mean=(123.5, 116.25, 103.0), std=(58.5, 57.0, 57.5), stated=True)
    assert source.facts["described as"] == "birds"


def test_one_number_counts_for_all_channels(tmp_path: Path) -> None:
    source = read(tmp_path, model(metadata(mean=[0], std=[255])))
    assert source.normalisation == Normalisation(mean=(0.0,) * 3, std=(255.0,) * 3, stated=True)


@pytest.mark.parametrize(("mean", "std"), [([1, 2], [1, 2]), ([0], [0]), ([0], [float("nan")]), ([0, 0, 0], [])])
def test_no_normalisation_of_an_image_is_refused(tmp_path: Path, mean: list[float], std: list[float]) -> None:
    with pytest.raises(UserError, match="its metadata normalise 3 channels by mean"):
        read(tmp_path, model(metadata(mean=mean, std=std)))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "meta", "mean", "std"),
    [
        (np.uint8, 1 / 128, 128, b"", 128, 128),
        (np.uint8, 1 / 127.5, 127, b"", 127, 127.5),
        (np.int8, 1 / 255, -128, b"", 0, 255),
        (np.int8, 1 / 127.5, -1, b"", 127, 127.5),
        # These say the same within a step: the stored number is the pixel.
        (np.uint8, 1 / 128, 128, metadata(mean=[127.5], std=[127.5]), 128, 128),
        (np.int8, 1 / 127.5, -1, metadata(mean=[127.5], std=[127.5]), 127, 127.5),
        # Here it is not: (x - 120) / 58 is what gets stored, in steps of 0.018.
        (np.int8, 0.018, -14, metadata(mean=[120], std=[58]), 120, 58),
    ],
)
def test_a_quantised_input_states_its_normalisation(
    tmp_path: Path, dtype: Any, scale: float, zero: int, meta: bytes, mean: float, std: float
) -> None:
    source = read(tmp_path, model(meta, dtype=dtype, scale=[scale], zero=[zero]))
    assert source.normalisation == Normalisation(mean=(mean,) * 3, std=(std,) * 3, stated=True)
    reference = tflite.open_reference(tmp_path / "model.tflite", source)
    assert reference is not None
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    pixels = (images - np.float64(mean)) / np.float64(std)
    weight = np.arange(36, dtype=np.float64).reshape(3, 12)
    # Stored pixels are exact, stored normalised pixels lie within half a step.
    tolerance = 1e-4 if mean != 120 else 0.5 * scale * weight.sum(1).max()
    assert np.abs(reference(images) - pixels.reshape(5, 12) @ weight.T).max() <= tolerance


def test_plain_integers_go_in_as_they_are(tmp_path: Path) -> None:
    source = read(tmp_path, model(dtype=np.uint8))
    assert source.normalisation == Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3, stated=True)
    assert source.graph is not None
    assert [node.op for node in source.graph.nodes] == ["same", "conv"]
    reference = tflite.open_reference(tmp_path / "model.tflite", source)
    assert reference is not None
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    wanted = images.reshape(5, 12) @ np.arange(36, dtype=np.float64).reshape(3, 12).T
    assert np.abs(reference(images) - wanted).max() <= 1e-2


def test_labels_are_those_of_the_output(tmp_path: Path) -> None:
    files = archive(classes__txt="Äpfel\r\nBirnen\r\nQuitten\r\n".encode(), notes__txt=b"no labels")
    source = read(tmp_path, model(metadata(labels="classes.txt"), files))
    assert source.labels == ("Äpfel", "Birnen", "Quitten")


def test_labels_without_metadata_are_the_one_file_of_that_name(tmp_path: Path) -> None:
    assert read(tmp_path, model(appended=archive(my_labels__txt=b"a\nb\nc", readme__txt=b"x"))).labels == (
        "a",
        "b",
        "c",
    )
    two = archive(labels__txt=b"a\nb\nc", labels_de__txt=b"d\ne\nf")
    assert read(tmp_path, model(appended=two)).labels == ()


def test_labels_of_another_count_are_left_out_and_named(tmp_path: Path) -> None:
    source = read(tmp_path, model(metadata(labels="labels.txt"), archive(labels__txt=b"a\nb\n")))
    assert source.labels == ()
    assert source.facts["labels"] == "left out: 2 in the file, 3 values in its output"


@pytest.mark.parametrize(
    ("appended", "message"),
    [
        (b"", "breaks off: its metadata names 'labels.txt'"),
        (archive(other__txt=b"a"), "the labels behind the model cannot be read: .*labels.txt"),
        (archive(labels__txt=b"\xff\xfe\x00"), "the labels behind the model cannot be read: .*utf-8"),
        (archive(labels__txt=b"a" * 2**23), "'labels.txt' behind the model is of 8388608 bytes"),
    ],
)
def test_labels_that_cannot_be_read_are_named(tmp_path: Path, appended: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"model.tflite: {message}"):
        read(tmp_path, model(metadata(labels="labels.txt"), appended))


def test_a_bomb_that_lies_about_its_size_is_read_no_further_than_labels_go(tmp_path: Path) -> None:
    bomb = archive(labels__txt=b"a" * 2**26)
    lying = bomb.replace((2**26).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != bomb
    with pytest.raises(UserError, match="the labels behind the model cannot be read"):
        read(tmp_path, model(metadata(labels="labels.txt"), lying))


def test_metadata_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metadata of another kind: b'M999'"):
        read(tmp_path, model(metadata(labels="labels.txt").replace(b"M001", b"M999")))
