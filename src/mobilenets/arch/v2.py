"""MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381), table 2."""

from __future__ import annotations

import math
from typing import NamedTuple

from .check import check_number
from .profiles import V2_AUTHORS, conventions, dropout
from .spec import Block, Head, Profile, Spec
from .widths import check_width, make_divisible


class Row(NamedTuple):
    """A sequence of n bottlenecks, in the paper's columns: expansion t, channels c, repeats n, first stride s."""

    input_size: int
    c_in: int
    t: int
    c: int
    n: int
    s: int
    tap: str = ""


STEM_CHANNELS = 32  # first row: conv2d, 224^2 x 3, c = 32, s = 2
LAST_CHANNELS = 1280  # row after the bottlenecks: conv2d 1x1, 7^2 x 320

TABLE_2 = (
    #   input  in   t    c  n  s
    Row(112, 32, 1, 16, 1, 1, "c1"),
    Row(112, 16, 6, 24, 2, 2, "c2"),
    Row(56, 24, 6, 32, 3, 2, "c3"),
    Row(28, 32, 6, 64, 4, 2),
    Row(14, 64, 6, 96, 3, 1, "c4"),
    Row(14, 96, 6, 160, 3, 2),
    Row(7, 160, 6, 320, 1, 1, "c5"),
)  # fmt: skip  (the paper prints 28^2 as the input of the row with c = 64 and s = 2)


def mobilenet_v2(
    *,
    width: float = 1.0,
    layer_multiplier: float = 1.0,
    fixed_stem_and_head: bool = False,
    profile: Profile = "default",
) -> Spec:
    """MobileNet V2 at width α.

    The last 1x1 convolution keeps 1280 channels for α < 1. `layer_multiplier` makes each row ceil(n * multiplier)
    bottlenecks long, first and last row excepted; with `fixed_stem_and_head` the stem keeps 32 and the last
    convolution 1280 channels at any width (timm's 110d: 1.1 and 1.2; 120d: 1.2 and 1.4).
    Raises UserError when the width is outside (0, 2] or the layer multiplier outside (0, 4].
    """
    width = check_width(width)
    layer_multiplier = check_number("layer_multiplier", layer_multiplier, above=0, most=4)
    blocks = lower(TABLE_2, width, layer_multiplier, fixed_stem_and_head)
    return Spec(
        name="mobilenet_v2",
        generation=2,
        width=width,
        blocks=blocks,
        head=Head(c_in=blocks[-1].c_out, dropout=dropout(profile, V2_AUTHORS, 0.2)),
        **conventions(profile, V2_AUTHORS, resolution=224),
    )


def lower(rows: tuple[Row, ...], width: float, layer_multiplier: float, fixed_stem_and_head: bool) -> tuple[Block, ...]:
    """Table 2 as absolute blocks: channels are make_divisible(c * width, 8), the expansion is t x the scaled input."""
    stem = STEM_CHANNELS if fixed_stem_and_head else make_divisible(STEM_CHANNELS * width)
    last = LAST_CHANNELS if fixed_stem_and_head else make_divisible(LAST_CHANNELS * max(1.0, width))
    blocks = [Block(kind="conv", c_in=3, c_mid=stem, c_out=stem, k_mid=3, stride=2, act="relu6")]
    for index, row in enumerate(rows):
        inner = 0 < index < len(rows) - 1
        repeats = math.ceil(row.n * layer_multiplier) if inner else row.n
        c_out = make_divisible(row.c * width)
        for repeat in range(repeats):
            c_in = blocks[-1].c_out
            stride = row.s if repeat == 0 else 1
            blocks.append(
                Block(
                    kind="separable" if row.t == 1 else "inverted",
                    c_in=c_in,
                    c_mid=c_in * row.t,
                    c_out=c_out,
                    k_mid=3,
                    stride=stride,
                    act="relu6",
                    linear=True,
                    residual=stride == 1 and c_in == c_out,
                    tap=row.tap if repeat == repeats - 1 else "",
                )
            )
    c_in = blocks[-1].c_out
    blocks.append(Block(kind="conv", c_in=c_in, c_mid=last, c_out=last, k_mid=1, act="relu6"))
    return tuple(blocks)
