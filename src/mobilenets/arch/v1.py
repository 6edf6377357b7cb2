"""MobileNet V1 (Howard et al. 2017, arXiv:1704.04861), table 1, and its variants of tables 4 and 5."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from .check import check_choice, check_count
from .profiles import V1_AUTHORS, conventions, dropout
from .spec import Block, Head, Profile, Spec
from .widths import check_width, scale_v1


class Row(NamedTuple):
    """A depthwise separable layer: two consecutive rows of table 1 (`Conv dw` and the 1x1 `Conv` after it)."""

    input_size: int
    c_in: int
    c_out: int
    stride: int
    tap: str = ""


STEM_CHANNELS = 32  # first row: Conv / s2, 3x3x3x32

TABLE_1 = (
    #   input  in    out  stride
    Row(112,   32,   64,  1, "c1"),
    Row(112,   64,  128,  2),
    Row( 56,  128,  128,  1, "c2"),
    Row( 56,  128,  256,  2),
    Row( 28,  256,  256,  1, "c3"),
    Row( 28,  256,  512,  2),
    Row( 14,  512,  512,  1),  # five times, 14x14x512
    Row( 14,  512,  512,  1),
    Row( 14,  512,  512,  1),
    Row( 14,  512,  512,  1),
    Row( 14,  512,  512,  1, "c4"),
    Row( 14,  512, 1024,  2),
    Row(  7, 1024, 1024,  1, "c5"),  # printed s2; input and output are both 7x7, every implementation has stride 1
)  # fmt: skip

Variant = Literal["standard", "shallow", "full_conv"]


def mobilenet_v1(
    *,
    width: float = 1.0,
    variant: Variant = "standard",
    channels_per_input: int = 1,
    profile: Profile = "default",
) -> Spec:
    """MobileNet V1 at width α.

    `shallow` leaves out the five 14x14x512 layers (table 5); `full_conv` has standard 3x3 convolutions in place of the
    depthwise separable layers (table 4). `channels_per_input` is the depthwise layer's channel multiplier.
    Raises UserError when the width is outside (0, 2] or a value is unknown.
    """
    width = check_width(width)
    channels_per_input = check_count("channels_per_input", channels_per_input, 1)
    check_choice("V1 variant", variant, get_args(Variant))
    rows = [row for row in TABLE_1 if (row.c_in, row.c_out) != (512, 512)] if variant == "shallow" else list(TABLE_1)
    if variant == "shallow":  # the last 14x14 layer left is the one that enters 14x14 from 28x28
        rows[5] = rows[5]._replace(tap="c4")
    blocks = lower(rows, width, full_conv=variant == "full_conv", channels_per_input=channels_per_input)
    suffix = "" if variant == "standard" else f"_{variant}"
    return Spec(
        name=f"mobilenet_v1{suffix}",
        generation=1,
        width=width,
        blocks=blocks,
        head=Head(c_in=blocks[-1].c_out, dropout=dropout(profile, V1_AUTHORS, 0.0)),
        **conventions(profile, V1_AUTHORS, resolution=224),
    )


def lower(rows: list[Row], width: float, *, full_conv: bool, channels_per_input: int) -> tuple[Block, ...]:
    """Table 1 as absolute blocks: every channel count c becomes max(int(c * width), 8)."""
    stem = scale_v1(STEM_CHANNELS, width)
    blocks = [Block(kind="conv", c_in=3, c_mid=stem, c_out=stem, k_mid=3, stride=2, act="relu6")]
    for row in rows:
        c_in, c_out = blocks[-1].c_out, scale_v1(row.c_out, width)
        blocks.append(
            Block(
                kind="conv" if full_conv else "separable",
                c_in=c_in,
                c_mid=c_out if full_conv else c_in * channels_per_input,
                c_out=c_out,
                k_mid=3,
                stride=row.stride,
                act="relu6",
                tap=row.tap,
            )
        )
    return tuple(blocks)
