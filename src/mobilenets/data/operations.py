"""Operations on one uint8 RGB image that augmentation policies are made of, each with a strength.

What a strength means is that of AutoAugment's table 6 (Cubuk et al. 2019): at 1 a rotation by 30 degrees, a shear by
0.3, a shift by 0.45 of the side, a blend that nearly doubles or removes brightness, contrast, saturation or sharpness.
Sharpness blends with PIL's `SMOOTH`, as the papers' code does; `solarize_add` is that of TensorFlow's RandAugment.
"""

from __future__ import annotations

import cv2
import numpy as np

_TABLES = ("autocontrast", "equalize", "brightness", "contrast", "posterize", "solarize", "invert", "solarize_add")
_SPATIAL = ("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "saturation", "sharpness")
OPERATIONS = _SPATIAL + _TABLES
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # PIL's ImageFilter.SMOOTH


def apply_operation(image: np.ndarray, name: str, strength: float) -> np.ndarray:
    """One operation on a uint8 image; `strength` in -1...1, beyond it more of the same."""
    if name in _TABLES:
        return _by_table(image, name, strength)
    height, width = image.shape[:2]
    if name == "saturation":
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return cv2.addWeighted(image, 1 + 0.9 * strength, grey, -0.9 * strength, 0)
    if name == "sharpness":
        smooth = cv2.filter2D(image, -1, _SMOOTH)
        smooth[[0, -1]], smooth[:, [0, -1]] = image[[0, -1]], image[:, [0, -1]]  # the border stays, as in PIL
        return cv2.addWeighted(image, 1 + 0.9 * strength, smooth, -0.9 * strength, 0)
    matrix: np.ndarray = np.eye(2, 3)
    if name == "rotate":
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 30 * strength, 1)
    elif name == "shear_x":
        matrix[0] = [1, 0.3 * strength, -0.15 * strength * height]
    elif name == "shear_y":
        matrix[1] = [0.3 * strength, 1, -0.15 * strength * width]
    elif name == "translate_x":
        matrix[0, 2] = 0.45 * strength * width
    elif name == "translate_y":
        matrix[1, 2] = 0.45 * strength * height
    else:
        return image
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))


def _by_table(image: np.ndarray, name: str, strength: float) -> np.ndarray:
    ramp = np.arange(256, dtype=np.float32)
    if name == "equalize":
        return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(image)])
    if name == "autocontrast":
        flat = image.reshape(-1, 3)
        low, high = flat.min(axis=0).astype(np.float32), flat.max(axis=0).astype(np.float32)
        tables = (ramp[:, None] - low) * 255 / np.maximum(high - low, 1)
        return cv2.LUT(image, np.clip(tables, 0, 255).astype(np.uint8)[None])
    if name == "brightness":
        table = ramp * (1 + 0.9 * strength)
    elif name == "contrast":
        mean = float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
        table = mean + (ramp - mean) * (1 + 0.9 * strength)
    elif name == "posterize":
        bits = max(8 - round(4 * abs(strength)), 0)
        table = np.floor(ramp / 2 ** (8 - bits)) * 2 ** (8 - bits)
    elif name == "solarize":
        table = np.where(ramp < 256 * (1 - abs(strength)), ramp, 255 - ramp)
    elif name == "solarize_add":  # what is dark becomes lighter by up to 110 levels
        table = np.where(ramp < 128, ramp + round(110 * abs(strength)), ramp)
    else:
        table = 255 - ramp
    return cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8))
