"""The page's icon as PNG, for the systems that take no SVG: what static/icon.svg draws, to the edges of a square."""

from __future__ import annotations

import cv2
import numpy as np

_GREEN, _WHITE = (0x63, 0x6E, 0x0B), (255, 255, 255)  # BGR
_UNITS = 64  # the side of the drawing
_FINER = 4  # drawn so many times larger, then averaged
_CORNERS = (((14, 22), (14, 14), (22, 14)), ((42, 14), (50, 14), (50, 22)))  # the upper two; the others mirror them
_BARS = ((20, 24.8, 1.0), (13, 32.0, 0.8), (7, 39.2, 0.6))  # length, height of the middle, opacity


def icon(side: int) -> bytes:
    """The PNG file of the icon, `side` x `side` pixels."""
    scale = side * _FINER / _UNITS
    canvas = np.full((side * _FINER, side * _FINER, 3), _GREEN, np.uint8)
    for corner in _CORNERS:
        for points in (corner, [(x, _UNITS - y) for x, y in corner]):
            line = np.round(np.array(points) * scale).astype(np.int32)
            cv2.polylines(canvas, [line], False, _WHITE, round(3.5 * scale))
    for length, y, opacity in _BARS:
        colour = [opacity * w + (1 - opacity) * g for w, g in zip(_WHITE, _GREEN)]
        left, right = (round(x * scale) for x in (24.3, 22 + length - 2.3))
        cv2.line(canvas, (left, round(y * scale)), (right, round(y * scale)), colour, round(4.6 * scale))
    _, png = cv2.imencode(".png", cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA))
    return png.tobytes()
