"""Which padding rule a file's convolutions follow: torch's symmetric one, TensorFlow's SAME, or explicit numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ...arch.spec import Padding
from ..graph import Pad
from .simplify import Layer


@dataclass(frozen=True, slots=True)
class Padded:
    """What one convolution allows: the rules that give its padding, the explicit numbers, and the size after it.

    Sizes are (height, width) in pixels, 0 where unknown. `pad` is None where only SAME states it.
    """

    rules: frozenset[str]
    pad: Pad | None
    height: int
    width: int


def padded(layer: Layer, height: int, width: int) -> Padded:
    """What the convolution's padding can be called, for an input of (height, width)."""
    kernel, stride, dilation = int(layer.weight.shape[2]), layer.stride[0], layer.dilation[0]
    reach = (kernel - 1) * dilation
    side = reach // 2
    symmetric: Pad = (side, side, side, side)
    if layer.pad == "same":
        both = kernel == 1 or (stride == 1 and reach % 2 == 0)
        rules = {"same", "symmetric"} if both else {"same"}
        known: Pad | None = symmetric if both else None
        if height and width and not both:
            known = (*same(width, reach, stride), *same(height, reach, stride))
        return Padded(frozenset(rules), known, _up(height, stride), _up(width, stride))
    assert not isinstance(layer.pad, str)
    pad = layer.pad
    rules = set()
    if pad == symmetric:
        rules.add("symmetric")
    left, right = same(width, reach, stride)
    top, bottom = same(height, reach, stride)
    if pad == (left, right, top, bottom):
        rules.add("same")
    after = [
        (size + before + behind - reach - 1) // stride + 1 if size else 0
        for size, before, behind in ((height, pad[2], pad[3]), (width, pad[0], pad[1]))
    ]
    return Padded(frozenset(rules), pad, *after)


def same(size: int, reach: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding before and after a side; an unknown side (0) counts as a multiple of the stride."""
    size = size or stride * (reach + 1)
    total = max((_up(size, stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


def common_rule(found: list[Padded]) -> Padding:
    """The rule that most convolutions follow; the symmetric one where both fit all."""
    counts = {rule: sum(rule in each.rules for each in found) for rule in ("symmetric", "same")}
    return "same" if counts["same"] > counts["symmetric"] else "symmetric"


def _up(size: int, stride: int) -> int:
    return -(-size // stride)
