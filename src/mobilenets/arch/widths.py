"""How a width multiplier rounds channels: each generation's own published rule."""

from __future__ import annotations

from .check import check_number


def make_divisible(channels: float, divisor: int = 8) -> int:
    """`channels` rounded to the nearest multiple of `divisor`, never more than 10 % below it (V2, V3, V4).

    Source: `_make_divisible` in tensorflow/models research/slim/nets/mobilenet/mobilenet.py.

    >>> [make_divisible(channels) for channels in (3, 11.2, 12, 18, 23)]
    [8, 16, 16, 24, 24]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def scale_v1(channels: int, width: float, minimum: int = 8) -> int:
    """`max(int(channels * width), minimum)`, V1's rule.

    Source: `depth = lambda d: max(int(d * depth_multiplier), min_depth)` in slim/nets/mobilenet_v1.py, whose
    `min_depth` is 8.

    >>> scale_v1(64, 0.35), scale_v1(32, 0.1)
    (22, 8)
    """
    return max(int(channels * width), minimum)


def check_width(width: float) -> float:
    """`width` as a float. Raises UserError unless 0 < width <= 2."""
    return check_number("width", width, above=0, most=2)
