"""Any image file to uint8 RGB."""

from __future__ import annotations

import cv2
import numpy as np


class ImageError(Exception):
    """The bytes are no whole image; `kind` is unreadable, truncated, empty, not_an_image or too_large."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def decode_image(data: bytes, *, min_side: int | None = None) -> np.ndarray:
    """The picture as uint8 RGB (H, W, 3). Raises ImageError."""
    if not data:
        raise ImageError("empty", "the file is empty")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ImageError("unreadable", "the image cannot be decoded")
    return image
