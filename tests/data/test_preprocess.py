"""The shared resize and crop: its arithmetic, its kernels against Pillow and plain loops, and its speed."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.arch.spec import Preprocessing
from mobilenets.data.preprocess import central_border, resize, resize_and_crop, resized_sides

BASE = Preprocessing(resolution=96)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with sharp noise on them, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), (width, height))
    return np.clip(smooth + rng.integers(-40, 40, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "resolution", "fraction", "expected"),
    [
        (120, 160, 224, 0.875, (256, 341)),  # 160 * 256 / 120 = 341.33
        (160, 120, 224, 0.875, (341, 256)),
        (100, 100, 128, 0.875, (146, 146)),  # 146.29
        (100, 333, 128, 1.0, (128, 426)),  # 426.24
        (1, 10, 32, 0.5, (64, 640)),
        (640, 480, 100, 0.8, (167, 125)),  # 166.67
        (3, 3, 33, 0.3, (110, 110)),
        (2, 5, 1, 1.0, (1, 3)),  # 2.5: halves go up
    ],
)
def test_sides_before_the_crop(
    height: int, width: int, resolution: int, fraction: float, expected: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(resolution=resolution, crop_fraction=fraction)
    assert resized_sides(height, width, preprocessing) == expected
    for form in ("squash", "central"):
        assert resized_sides(height, width, replace(preprocessing, resize=form)) == (resolution, resolution)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.floats(0.3, 1.0),
    st.sampled_from(["shortest", "squash", "central"]), st.sampled_from(["area_linear", "bilinear", "bicubic"]),
)  # fmt: skip
def test_any_image_comes_out_square(
    height: int, width: int, resolution: int, fraction: float, form: Any, interpolation: Any
) -> None:
    preprocessing = Preprocessing(
        resolution=resolution,
        crop_fraction=fraction,
        resize=form,
        interpolation=interpolation,
    )
    flat = np.full((height, width, 3), (10, 128, 255), np.uint8)
    out = resize_and_crop(flat, preprocessing)
    assert out.shape == (resolution, resolution, 3)
    assert out.flags.c_contiguous
    assert (out == (10, 128, 255)).all()  # weights sum to one everywhere, edges included


def test_crop_is_the_centre_and_rounds_up_left() -> None:
    image = np.arange(5 * 8, dtype=np.uint8).reshape(5, 8)[..., None].repeat(3, axis=2)
    preprocessing = Preprocessing(resolution=4, crop_fraction=0.8)  # the short side 5 stays 5
    assert np.array_equal(resize_and_crop(image, preprocessing), image[0:4, 2:6])


@pytest.mark.parametrize(
    ("side", "fraction", "border"),
    [
        (333, 0.875, 20),  # 20.8
        (224, 0.875, 14),
        (500, 0.875, 31),  # 31.25
        (16, 0.875, 1),
        (15, 0.875, 0),  # 0.94
        (1, 0.875, 0),
        (100, 1.0, 0),
        (5, 0.2, 2),  # exactly 2: the middle pixel is left
        (10, 0.1, 4),  # 4.5
        (2, 0.01, 0),  # 0.99
        (1000, 0.3, 350),
    ],
)
def test_central_border(side: int, fraction: float, border: int) -> None:
    """tf.image.central_crop's offset, int((side - side * fraction) / 2) of doubles; the size is side - 2 * offset."""
    assert central_border(side, fraction) == border
    exact = (side - side * Fraction(str(fraction))) / 2
    assert border == math.floor(exact)
    assert side - 2 * border >= side * fraction


@pytest.mark.parametrize(("height", "width"), [(33, 50), (50, 33), (24, 90), (17, 17)])
@pytest.mark.parametrize("interpolation", ["area_linear", "bilinear"])
def test_central_cuts_both_sides_and_then_resizes(height: int, width: int, interpolation: Any) -> None:
    """Against plain loops over what is left of each side."""
    image = picture(height, width)
    top, left = (math.floor(Fraction(side, 16)) for side in (height, width))
    part = image[top : height - top, left : width - left, 1].astype(float)
    preprocessing = Preprocessing(resolution=20, resize="central", interpolation=interpolation)
    out = resize_and_crop(image, preprocessing)
    assert out.shape == (20, 20, 3)
    if interpolation == "bilinear":
        pillow = pytest.importorskip("PIL.Image")
        box = (left, top, width - left, height - top)
        expected = np.asarray(pillow.fromarray(image).crop(box).resize((20, 20), pillow.BILINEAR))[..., 1].astype(float)
    else:
        rows = [(area_reference if part.shape[1] > 20 else linear_reference)(row, 20) for row in part]
        turned = np.stack(rows).T
        down = area_reference if part.shape[0] > 20 else linear_reference
        expected = np.stack([down(column, 20) for column in turned], axis=1)
    assert np.abs(out[..., 1] - expected).max() <= 1.5  # two roundings
    whole = resize_and_crop(image, replace(preprocessing, crop_fraction=1.0))
    assert np.array_equal(whole, resize_and_crop(image, replace(preprocessing, resize="squash")))
    assert (whole != out).mean() > 0.5


def test_mirrored_image_gives_the_mirrored_result() -> None:
    image = picture(120, 180)
    for interpolation in ("area_linear", "bilinear", "bicubic"):
        preprocessing = replace(BASE, interpolation=interpolation, crop_fraction=1.0)  # 144 - 96 is even
        out = resize_and_crop(image, preprocessing).astype(int)
        mirrored = resize_and_crop(np.ascontiguousarray(image[:, ::-1]), preprocessing).astype(int)
        assert np.abs(out - mirrored[:, ::-1]).max() <= 1, interpolation


def area_reference(row: np.ndarray, size: int) -> np.ndarray:
    """Mean of the covered input per output pixel, weighted by overlap, by a plain loop."""
    scale = len(row) / size
    out = []
    for i in range(size):
        begin, end, total = i * scale, (i + 1) * scale, 0.0
        for j in range(len(row)):
            total += row[j] * max(0.0, min(end, j + 1) - max(begin, j))
        out.append(total / scale)
    return np.array(out)


def linear_reference(row: np.ndarray, size: int) -> np.ndarray:
    centres = (np.arange(size) + 0.5) * len(row) / size - 0.5
    return np.interp(centres, np.arange(len(row)), row)


@pytest.mark.parametrize(("height", "width"), [(11, 17), (11, 40), (30, 17), (30, 40)])
def test_area_linear_is_what_the_text_says(height: int, width: int) -> None:
    """Each axis by its own rule, in all four cases of growing and shrinking."""
    image = picture(20, 30)
    out = resize(image, height, width)
    expected = image[..., 0].astype(float)
    vertical = area_reference if height < 20 else linear_reference
    horizontal = area_reference if width < 30 else linear_reference
    expected = np.stack([horizontal(row, width) for row in expected])
    expected = np.stack([vertical(column, height) for column in expected.T], axis=1)
    assert np.abs(out[..., 0] - expected).max() <= 1.5  # two roundings


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 64), (97, 33), (200, 301), (120, 77), (7, 5), (1, 1)])
def test_antialiased_kernels_agree_with_pillow(interpolation: str, size: tuple[int, int]) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image = picture(120, 181)
    kernel = {"bilinear": image_module.BILINEAR, "bicubic": image_module.BICUBIC}[interpolation]
    expected = np.asarray(image_module.fromarray(image).resize(size[::-1], kernel)).astype(int)
    difference = np.abs(resize(image, *size, interpolation) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_reduced_decoding_changes_little_after_the_resize() -> None:
    """A JPEG decoded at half size and one decoded whole end as nearly the same input."""
    from mobilenets.data.decode import decode_image

    smooth = cv2.GaussianBlur(picture(400, 600), (0, 0), 2)
    data = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    whole = resize_and_crop(decode_image(data), BASE).astype(int)
    half = decode_image(data, min_side=resized_sides(400, 600, BASE)[0])
    assert half.shape[0] == 200
    assert np.abs(resize_and_crop(half, BASE) - whole).mean() < 0.7


def test_same_size_is_returned_untouched() -> None:
    image = picture(96, 96)
    assert np.array_equal(resize_and_crop(image, replace(BASE, crop_fraction=1.0)), image)


def test_unknown_interpolation_is_named() -> None:
    with pytest.raises(ValueError, match="'lanczos'"):
        resize(picture(10, 10), 5, 5, "lanczos")
