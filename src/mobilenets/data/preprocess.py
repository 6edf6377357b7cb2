"""The one resize and crop that training's validation, evaluation, prediction and every exported file share.

Stated precisely, so that another language can do the same:

1. `shortest`: the short side becomes s = ⌊resolution / crop_fraction + ½⌋, but never less than the resolution, the long
   side ⌊long · s / short + ½⌋; then the centre `resolution` x `resolution` is cut out, its upper left corner at
   ⌊(side - resolution) / 2⌋. `squash`: both sides become the resolution, nothing is cut. `central`: of each side
   b = ⌊(side - side · crop_fraction) / 2⌋ pixels are cut off at both ends, computed in double precision, as
   tf.image.central_crop does; then both sides become the resolution. That is slim's preprocess_for_eval
   (tensorflow/models, research/slim/preprocessing/inception_preprocessing.py), whose resize_bilinear is none of 2.:
   it does not average where a side shrinks, and it samples at i·k, not at the middle of what the pixel covers.
2. Pixels are areas: output pixel i covers the input from i·k to (i+1)·k, with k = side in / side out.
   `area_linear`: an axis that shrinks averages the covered input, weighted by overlap (OpenCV's INTER_AREA); an axis
   that grows is interpolated linearly between pixel centres, edges repeated (INTER_LINEAR). Where one axis shrinks and
   the other grows, the shrinking comes first.
   `bilinear`, `bicubic`: Pillow's antialiased kernels, a triangle of radius 1 and Keys' cubic with a = -½ of radius 2,
   stretched by k where the axis shrinks, weights normalised over the pixels that exist; the horizontal pass first.
3. Each pass is rounded to the nearest uint8.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from ..arch.spec import Preprocessing

_BLOCK = 16  # output pixels that share one slice of the input: their kernels overlap, so one matrix product does them


def resize_and_crop(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The image as the network sees it: uint8 RGB (R, R, 3), R = `preprocessing.resolution`, from uint8 RGB (H, W, 3).

    >>> from mobilenets.arch.spec import Preprocessing
    >>> resize_and_crop(np.zeros((120, 160, 3), np.uint8), Preprocessing(resolution=96)).shape
    (96, 96, 3)
    """
    size = preprocessing.resolution
    if preprocessing.resize == "squash":
        return resize(image, size, size, preprocessing.interpolation)
    if preprocessing.resize == "central":
        top, left = (central_border(side, preprocessing.crop_fraction) for side in image.shape[:2])
        centre = image[top : image.shape[0] - top, left : image.shape[1] - left]
        return resize(np.ascontiguousarray(centre), size, size, preprocessing.interpolation)
    height, width = resized_sides(image.shape[0], image.shape[1], preprocessing)
    image = resize(image, height, width, preprocessing.interpolation)
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def resized_sides(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) to which an image of the given sides is resized; only `shortest` crops after that."""
    size = preprocessing.resolution
    if preprocessing.resize != "shortest":
        return size, size
    short = max(size, int(size / preprocessing.crop_fraction + 0.5))
    long = int(max(height, width) * short / min(height, width) + 0.5)
    return (short, long) if height <= width else (long, short)


def central_border(side: int, crop_fraction: float) -> int:
    """Pixels that `central` cuts off at each end of a side; at least one pixel is left.

    >>> central_border(333, 0.875)  # 20.8
    20
    """
    return int((side - side * crop_fraction) / 2)


def resize(image: np.ndarray, height: int, width: int, interpolation: str = "area_linear") -> np.ndarray:
    """uint8 (height, width, 3) from uint8 (H, W, 3), by the kernels that this file's first lines state."""
    if image.shape[:2] == (height, width):
        return image
    if interpolation == "area_linear":
        return _area_linear(image, height, width)
    if interpolation not in _KERNELS:
        raise ValueError(f"interpolation {interpolation!r}; area_linear, bilinear and bicubic exist")
    turned = _convolve(image.transpose(1, 0, 2), width, interpolation)  # (width, H, 3)
    return _convolve(turned.transpose(1, 0, 2), height, interpolation)  # (height, width, 3)


def _area_linear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if height > image.shape[0] and width > image.shape[1]:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    smaller = min(width, image.shape[1]), min(height, image.shape[0])
    if smaller != image.shape[1::-1]:
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _convolve(image: np.ndarray, side: int, interpolation: str) -> np.ndarray:
    """uint8 (side, B, 3): the first axis of uint8 (A, B, 3) resampled, as one matrix product per block of rows."""
    if image.shape[0] == side:
        return np.ascontiguousarray(image)
    pixels = np.ascontiguousarray(image, np.float32).reshape(image.shape[0], -1)  # (A, B * 3)
    out = np.empty((side, pixels.shape[1]), np.float32)
    for begin, end, low, high, weights in _blocks(image.shape[0], side, interpolation):
        np.matmul(weights, pixels[low:high], out=out[begin:end])
    out += 0.5
    np.clip(out, 0, 255.5, out=out)
    return out.astype(np.uint8).reshape(side, *image.shape[1:])


@lru_cache(maxsize=64)
def _blocks(side_in: int, side_out: int, interpolation: str) -> tuple[tuple[int, int, int, int, np.ndarray], ...]:
    """(first output, end, first input, end, weights float32 (outputs, inputs)) of each run of output pixels."""
    kernel, radius = _KERNELS[interpolation]
    scale = side_in / side_out
    stretch = max(scale, 1.0)
    blocks = []
    for begin in range(0, side_out, _BLOCK):
        end = min(begin + _BLOCK, side_out)
        centres = (np.arange(begin, end) + 0.5) * scale
        # Pillow counts an input pixel when its centre lies within the radius, to the nearest pixel.
        lows = np.maximum((centres - radius * stretch + 0.5).astype(int), 0)
        highs = np.minimum((centres + radius * stretch + 0.5).astype(int), side_in)
        low, high = int(lows.min()), int(highs.max())
        inputs = np.arange(low, high)
        weights = kernel((inputs + 0.5 - centres[:, None]) / stretch)
        weights[(inputs < lows[:, None]) | (inputs >= highs[:, None])] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        blocks.append((begin, end, low, high, weights.astype(np.float32)))
    return tuple(blocks)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}
