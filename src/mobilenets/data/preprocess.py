"""The one resize and crop that every command shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mobilenets.arch.spec import Preprocessing


def resize_and_crop(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The image as the network sees it: uint8 RGB (R, R, 3) with R = `preprocessing.resolution`."""
    size = preprocessing.resolution
    if preprocessing.resize == "squash":
        return _resize(image, size, size)
    height, width = image.shape[:2]
    short = max(size, round(size / preprocessing.crop_fraction))
    scale = short / min(height, width)
    height, width = max(short, round(height * scale)), max(short, round(width * scale))
    image = _resize(image, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    shrinks = height < image.shape[0] and width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
