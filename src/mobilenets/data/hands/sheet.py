"""A picture of many pictures: the quickest check that a person recognises the signs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ...atomic import write_bytes
from .picture import render
from .pose import SIGNS

_GAP = 4
_STRIP = 30
_PAPER, _INK = 250, 60


def contact_sheet(path: Path, *, columns: int = 8, rows: int = 1, size: int = 128, seed: int = 0) -> None:
    """Writes a PNG with `rows` rows of `columns` pictures of each sign, `size` pixels each, the sign's name beside."""
    step = size + _GAP
    height, width = len(SIGNS) * rows * step + _GAP, _STRIP + columns * step
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for k, sign in enumerate(SIGNS):
        top = k * rows * step + _GAP
        for i in range(rows * columns):
            y, x = top + i // columns * step, _STRIP + i % columns * step
            # Each sign has scenes of its own: index k, k + 3, … as in a prepared folder.
            sheet[y : y + size, x : x + size] = render(seed, len(SIGNS) * i + k, sign, size).image
        sheet[top : top + rows * step - _GAP, :_STRIP] = _label(sign, rows * step - _GAP)
    done, data = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise RuntimeError(f"OpenCV could not encode {path}")
    write_bytes(path, data.tobytes())


def _label(text: str, length: int) -> np.ndarray:
    """`text` running upward in the middle of a strip (length, _STRIP, 3)."""
    strip = np.full((_STRIP, length, 3), _PAPER, np.uint8)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 0.6, 1)
    place = ((length - width) // 2, (_STRIP + height) // 2)
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_DUPLEX, 0.6, (_INK,) * 3, 1, cv2.LINE_AA)
    return np.rot90(strip)
