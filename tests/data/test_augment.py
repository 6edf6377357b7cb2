"""Augmentation: what it draws, where pixels and colours end up, and that it repeats."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.augment import (
    DRAWS,
    Augmentation,
    draw,
    erase_,
    mix,
    recolour,
    warp,
)
from mobilenets.data.operations import OPERATIONS, apply_operation
from mobilenets.errors import UserError

PLAIN = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, colour=0.0)


def picture(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """A smooth colour picture, so that a small shift changes it a little."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def numbers(**columns: float) -> np.ndarray:
    u = np.full(DRAWS, 0.5, np.float32)
    for name, value in columns.items():
        u[int(name.removeprefix("u"))] = value
    return u


def test_without_strength_it_is_the_plain_resize() -> None:
    image = picture(64, 64)
    ours = warp(image, PLAIN, numbers(), 48)
    plain = cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours.astype(int) - plain).max() <= 2


def test_flip_mirrors() -> None:
    image = picture(48, 48)
    flipping = replace(PLAIN, flip=True)
    plain, flipped = (warp(image, flipping, numbers(u6=u), 48).astype(int) for u in (0.9, 0.1))
    assert np.abs(plain[:, ::-1] - flipped).max() <= 1
    assert np.abs(plain - flipped).max() > 20


def test_rotation_by_a_half_turn() -> None:
    image = picture(48, 48)
    turned = warp(image, replace(PLAIN, rotate=180.0), numbers(u4=1.0), 48).astype(int)
    assert np.abs(turned - image[::-1, ::-1]).max() <= 2


@pytest.mark.parametrize("size", [32, 100, 150])
def test_a_crop_that_is_shrunk_stays_in_its_place(size: int) -> None:
    """The mean of a ramp's centre crop is that of the ramp, however much the crop shrinks."""
    ys, xs = np.mgrid[0:401, 0:501]  # odd: a whole factor does not divide them
    image = np.dstack([xs / 2, ys / 2, np.zeros_like(xs)]).round().astype(np.uint8)
    out = warp(image, replace(PLAIN, scale=(0.5, 0.5)), numbers(), size).astype(float)
    assert abs(out[..., 0].mean() - 125) < 0.4
    assert abs(out[..., 1].mean() - 100) < 0.4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 200), st.integers(20, 200))
def test_a_crop_stays_inside_the_picture(seed: int, height: int, width: int) -> None:
    """A picture whose coordinates are its colours comes back with coordinates inside the drawn area."""
    ys, xs = np.mgrid[0:height, 0:width]
    image = np.dstack([xs * 255 // (width - 1), ys * 255 // (height - 1), np.zeros_like(xs)]).astype(np.uint8)
    u = np.random.default_rng(seed).random(DRAWS, dtype=np.float32)
    augmentation = Augmentation(scale=(0.3, 0.9), flip=False, colour=0)
    out = warp(image, augmentation, u, 32).astype(float) / 255
    covered = (out[..., 0].max() - out[..., 0].min()) * (out[..., 1].max() - out[..., 1].min())
    assert covered <= 0.3 + 0.6 * u[0] + 0.12
    assert (np.diff(out[..., 0], axis=1) >= -0.02).all()  # no mirrored border: x grows throughout


def test_epochs_differ_and_repeat() -> None:
    order, u = draw(7, 3, 100)
    again_order, again_u = draw(7, 3, 100)
    assert (order == again_order).all()
    assert (u == again_u).all()
    assert sorted(order) == list(range(100))
    assert (draw(7, 4, 100)[0] != order).any()
    assert (draw(8, 3, 100)[0] != order).any()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("strength", [-0.7, 0.7])
def test_every_operation_of_randaugment(name: str, strength: float) -> None:
    image = picture()
    out = apply_operation(image, name, strength)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert (out == image).all() == (name == "identity" or (name == "autocontrast" and image.min() == 0))
    if name == "brightness":
        assert (out.mean() > image.mean()) == (strength > 0)
    if name == "saturation":
        assert (np.ptp(out, axis=2).mean() > np.ptp(image, axis=2).mean()) == (strength > 0)


def test_colour_against_a_plain_formula() -> None:
    image = picture()
    ours = recolour(image, Augmentation(colour=0.5), numbers(u7=0.7, u8=0.3, u9=0.9))
    x = image.astype(np.float64)
    luma = np.array([0.299, 0.587, 0.114])
    brightness, contrast, saturation = 1.2, 0.8, 1.4
    saturated = saturation * x + (1 - saturation) * (x @ luma)[..., None]
    mean = (x.reshape(-1, 3).mean(axis=0) * luma).sum()
    expected = np.clip(brightness * (contrast * saturated + (1 - contrast) * mean), 0, 255)
    assert np.abs(ours - expected).max() < 1  # whole levels, in fixed point


def test_brightness_and_saturation_alone() -> None:
    """Inception's colours: up to 32 of 255 levels are added or taken, saturation changes by up to a half."""
    image = picture()
    settings = Augmentation(colour=0.0, brightness=32 / 255, saturation=0.5)
    ours = recolour(image, settings, numbers(u7=0.25, u8=0.9, u9=0.9))
    x = image.astype(np.float64)
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    expected = np.clip(1.4 * x - 0.4 * grey - 16, 0, 255)
    assert np.abs(ours - expected).max() < 1
    stronger = recolour(image, Augmentation(colour=0.5, saturation=0.2), numbers(u7=0.5, u8=0.5, u9=0.9))
    assert (stronger == recolour(image, Augmentation(colour=0.5), numbers(u7=0.5, u8=0.5, u9=0.9))).all()


def test_grey_and_hue() -> None:
    image = np.clip(picture(), 90, 160)
    grey = recolour(image, Augmentation(colour=0, grey=0.5), numbers(u15=0.0))
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    turned = recolour(image, Augmentation(colour=0, hue=1 / 3), numbers(u11=1.0))  # a third of a turn rotates channels
    assert np.abs(turned.astype(int) - np.roll(image, 1, axis=2)).max() <= 1


def test_mixup_and_cutmix_keep_targets_a_distribution_of_what_is_shown() -> None:
    batch = torch.arange(4.0)[:, None, None, None].expand(4, 3, 20, 20).clone()
    targets = torch.eye(4)
    mixed, soft = mix(batch, targets, Augmentation(mixup=0.4), np.random.default_rng(0))
    assert torch.allclose(mixed[:, 0, 0, 0], soft @ torch.arange(4.0), atol=1e-5)
    cut, soft = mix(batch, targets, Augmentation(cutmix=1.0), np.random.default_rng(1))
    assert torch.allclose(cut.mean(dim=(1, 2, 3)), soft @ torch.arange(4.0), atol=1e-5)
    assert torch.allclose(soft.sum(dim=1), torch.ones(4))


def test_erasing_covers_the_stated_area() -> None:
    batch = torch.ones(200, 1, 40, 40)
    erase_(batch, 0.5, np.random.default_rng(0))
    gone = 1 - batch.mean(dim=(1, 2, 3))
    assert 0.35 < (gone > 0).float().mean() < 0.65
    assert gone.max() < 0.27
    assert gone[gone > 0].min() > 0.01


@pytest.mark.parametrize(
    "values", [{"scale": (0.0, 1.0)}, {"scale": (0.5, 0.4)}, {"grey": 1.5}, {"mixup": -1.0}, {"rotate": -3.0}]
)
def test_values_out_of_range(values: dict) -> None:
    with pytest.raises(UserError, match="is out of range"):
        Augmentation(**values)
