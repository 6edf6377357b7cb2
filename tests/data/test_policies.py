"""AutoAugment's tables and arguments, RandAugment's probability and its levels."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from mobilenets.data import policies
from mobilenets.data.augment import DRAWS, Augmentation, warp
from mobilenets.data.operations import OPERATIONS, apply_operation
from mobilenets.data.policies import POLICIES, Step, autoaugment, level_of, randaugment, strength_of
from mobilenets.errors import UserError


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("policy", "counts"),
    [
        ("imagenet", {"equalize": 17, "rotate": 6, "posterize": 5, "solarize": 7, "saturation": 6}),
        ("cifar10", {"equalize": 9, "autocontrast": 7, "translate_y": 5, "sharpness": 5, "saturation": 5}),
    ],
)
def test_the_tables_are_the_papers(policy: policies.Policy, counts: dict[str, int]) -> None:
    """25 rows of two, known operations, probabilities in tenths, magnitudes 0...9; the counts by hand."""
    steps = [step for row in POLICIES[policy] for step in row]
    assert len(POLICIES[policy]) == 25
    assert len(steps) == 50
    assert {step.name for step in steps} <= set(OPERATIONS)
    assert all(0 <= step.magnitude <= 9 and round(10 * step.probability) == 10 * step.probability for step in steps)
    found = Counter(step.name for step in steps)
    assert {name: found[name] for name in counts} == counts


def test_magnitudes_mean_what_table_6_says() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    for magnitude, factor in ((0, 0.1), (4, 0.9), (9, 1.9)):
        bright = apply_operation(grey, "brightness", strength_of(Step("brightness", 1, magnitude)))
        assert abs(int(bright[0, 0, 0]) - 100 * factor) <= 1
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for magnitude, bits in ((0, 4), (5, 6), (9, 8)):
        kept = apply_operation(ramp, "posterize", strength_of(Step("posterize", 1, magnitude)))
        assert len(np.unique(kept)) == 2**bits
    for magnitude, threshold in ((0, 0), (3, 256 / 3), (9, 256)):
        turned = apply_operation(ramp, "solarize", strength_of(Step("solarize", 1, magnitude)))
        values = np.arange(256)
        assert (turned[..., 0].ravel() == np.where(values < threshold, values, 255 - values)).all()
    assert 30 * strength_of(Step("rotate", 1, 3), -1) == pytest.approx(-10)
    assert 0.45 * strength_of(Step("translate_x", 1, 9)) == pytest.approx(150 / 331)
    assert 0.3 * strength_of(Step("shear_y", 1, 6)) == pytest.approx(0.2)


def test_rows_are_drawn_evenly_and_operations_by_their_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: Counter[str] = Counter()
    monkeypatch.setattr(policies, "apply_operation", lambda image, name, strength: applied.update([name]) or image)
    rng = np.random.default_rng(0)
    draws = 20_000
    for _ in range(draws):
        autoaugment(np.zeros((1, 1, 3), np.uint8), "imagenet", rng)
    for name in ("equalize", "rotate", "sharpness"):
        expected = sum(step.probability for row in POLICIES["imagenet"] for step in row if step.name == name) / 25
        assert applied[name] / draws == pytest.approx(expected, rel=0.1)


def test_randaugment_applies_each_operation_with_its_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def count(image: np.ndarray, name: str, strength: float) -> np.ndarray:
        nonlocal calls
        calls += 1
        assert abs(strength) == 0.9
        return image

    monkeypatch.setattr(policies, "apply_operation", count)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        randaugment(np.zeros((1, 1, 3), np.uint8), 2, 9.0, 0.3, rng)
    assert calls == pytest.approx(1200, rel=0.1)


def test_the_same_numbers_give_the_same_picture() -> None:
    image, rng = picture(), np.random.default_rng(1)
    varied = Augmentation(autoaugment="imagenet")
    changed = 0
    for _ in range(20):
        u = rng.random(DRAWS, dtype=np.float32)
        first = warp(image, varied, u, 48)
        assert (first == warp(image, varied, u, 48)).all()
        changed += bool((first != warp(image, Augmentation(), u, 48)).any())
    assert changed > 10


def test_both_policies_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="autoaugment imagenet and randaugment 2 contradict"):
        Augmentation(autoaugment="imagenet", randaugment=2)


@pytest.mark.parametrize("magnitude", [0, 3, 9, 10, 15, 20])
def test_tensorflows_levels(magnitude: int) -> None:
    """The formulas of `level_to_arg` (official/vision/ops/augment.py), by what becomes of every grey level."""

    def applied(name: str, image: np.ndarray) -> np.ndarray:
        return apply_operation(image, name, level_of(name, magnitude, 1, "tensorflow")).astype(int)

    values = np.arange(256)
    ramp = values.astype(np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    bits = int(magnitude / 10 * 4)
    kept = values >> (8 - bits) << (8 - bits)
    assert (applied("posterize", ramp)[..., 0].ravel() == kept).all()
    turned = np.where(values < int(magnitude / 10 * 256), values, 255 - values)
    assert (applied("solarize", ramp)[..., 0].ravel() == turned).all()
    added = np.where(values < 128, np.minimum(values + int(magnitude / 10 * 110), 255), values)
    assert (applied("solarize_add", ramp)[..., 0].ravel() == added).all()
    factor = magnitude / 10 * 1.8 + 0.1
    assert np.abs(applied("brightness", ramp)[..., 0].ravel() - np.clip(values * factor, 0, 255)).max() <= 1
    assert 30 * level_of("rotate", magnitude, -1, "tensorflow") == pytest.approx(-30 * magnitude / 10)
    assert 0.3 * level_of("shear_y", magnitude, 1, "tensorflow") == pytest.approx(0.3 * magnitude / 10)


def test_a_shift_is_by_that_part_of_the_side() -> None:
    """V4 Conv-S: 20 pixels of 224 at magnitude 10, so 18 at its magnitude 9."""
    image = np.zeros((224, 224, 3), np.uint8)
    image[100, 50] = 255
    for name, place in (("translate_x", (100, 68)), ("translate_y", (118, 50))):
        moved = apply_operation(image, name, level_of(name, 9, 1, "tensorflow", 20 / 224))
        assert tuple(np.argwhere(moved[..., 0] == moved[..., 0].max())[-1]) in (place, (223, 223))
        assert moved[place][0] == 255


def test_levels_that_increase_change_more_with_more() -> None:
    image = picture()
    for name in ("brightness", "contrast", "saturation", "sharpness", "posterize", "solarize", "solarize_add"):
        changes = [
            np.abs(apply_operation(image, name, level_of(name, m, 1, "increasing")).astype(int) - image).mean()
            for m in (0, 5, 10)
        ]
        assert changes[0] <= 1, name
        assert changes[0] < changes[1] < changes[2], name


def test_every_operation_is_drawn_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen: the fifteen of TensorFlow's list without cutout, and none at all."""
    drawn: Counter[str] = Counter()
    monkeypatch.setattr(policies, "apply_operation", lambda image, name, strength: drawn.update([name]) or image)
    rng = np.random.default_rng(0)
    for _ in range(8000):
        randaugment(np.zeros((1, 1, 3), np.uint8), 2, 9.0, 1.0, rng, levels="tensorflow")
    assert len(drawn) == 16
    assert all(count == pytest.approx(1000, rel=0.15) for count in drawn.values())


def test_sharpness_is_pils() -> None:
    image_module = pytest.importorskip("PIL.Image")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    image = picture()
    for factor in (0.1, 0.6, 1.9):
        expected = np.asarray(enhance.Sharpness(image_module.fromarray(image)).enhance(factor)).astype(int)
        ours = apply_operation(image, "sharpness", (factor - 1) / 0.9)
        assert np.abs(ours - expected).max() <= 1


def test_magnitudes_above_ten_are_tensorflows_alone() -> None:
    assert Augmentation(randaugment=2, magnitude=15, levels="tensorflow").magnitude == 15
    with pytest.raises(UserError, match="magnitude 15 is out of range"):
        Augmentation(randaugment=2, magnitude=15)
