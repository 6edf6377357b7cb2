"""The contact sheet: a row per class, in the given size, that survives broken files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.show import MAX_CLASSES, contact_sheet, save_picture
from mobilenets.errors import UserError

Write = Callable[..., Path]


def test_a_row_per_class_holds_its_pictures(tmp_path: Path, picture_of: Callable[..., np.ndarray]) -> None:
    for name, colour in (("blue", (255, 0, 0)), ("red", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for i in range(3):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.full((30, 60, 3), colour, np.uint8))
    sheet = contact_sheet(open_dataset(tmp_path), columns=4, cell=64)
    assert sheet.shape == (2 * (16 + 64 + 4), 4 + 4 * 68, 3)
    assert sheet[16 + 32, 4 + 32].tolist() == [0, 0, 255]  # RGB blue in the first cell
    assert sheet[16 + 32, 4 + 3 * 68 + 32].tolist() == [245, 245, 245]  # three pictures, the fourth cell is paper
    assert sheet[84 + 16 + 32, 4 + 32].tolist() == [255, 0, 0]
    assert sheet[16 + 4, 4 + 32].tolist() == [245, 245, 245]  # a wide picture leaves paper above it


def test_augmentation_shows_one_sample_and_what_becomes_of_it(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, ["a/1.png", "b/1.png"]))
    seen: list[tuple[int, ...]] = []

    def invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(image.shape)
        return 255 - image

    sheet = contact_sheet(dataset, columns=3, cell=48, augment=invert).astype(int)
    assert seen == [(48, 48, 3)] * 4
    first, second = sheet[16:64, 4:52], sheet[16:64, 56:104]
    assert np.array_equal(first, 255 - second)


def test_many_classes_and_broken_files(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, [f"k{i:03}/1.png" for i in range(90)])
    (tmp_path / "k000/1.png").write_text("no image")
    sheet = contact_sheet(open_dataset(tmp_path), columns=1, cell=32)
    assert sheet.shape[0] == MAX_CLASSES * (16 + 32 + 4)


def test_the_same_seed_draws_the_same_samples(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, [f"{k}/{i}.png" for k in "ab" for i in range(9)]))
    assert np.array_equal(contact_sheet(dataset, columns=2), contact_sheet(dataset, columns=2))
    assert not np.array_equal(contact_sheet(dataset, columns=2), contact_sheet(dataset, columns=2, seed=1))


def test_writing(tmp_path: Path, write_images: Write, picture_of: Callable[..., np.ndarray]) -> None:
    image = picture_of(0)
    path = save_picture(image, tmp_path / "new folder/sheet.png")
    assert np.array_equal(decode_image(path.read_bytes()), image)
    assert save_picture(image, tmp_path / "sheet.jpg").read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(UserError, match=r"\.png or \.jpg"):
        save_picture(image, tmp_path / "sheet.gif")
    with pytest.raises(UserError, match="columns 0"):
        contact_sheet(open_dataset(write_images(tmp_path / "set", ["a/1.png", "b/1.png"])), columns=0)
