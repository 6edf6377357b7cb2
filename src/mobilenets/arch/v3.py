"""MobileNet V3 (Howard et al. 2019, arXiv:1905.02244), tables 1 and 2, and the authors' minimalistic forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from .check import check_choice, check_count
from .profiles import V3_AUTHORS, conventions, dropout
from .spec import Activation, Block, Head, Profile, Spec
from .widths import check_width, make_divisible

RE: Activation = "relu"
HS: Activation = "hard_swish"


class Row(NamedTuple):
    """A `bneck` row in the paper's columns: input size and channels, kernel, exp size, #out, SE, NL, s."""

    input_size: int
    c_in: int
    kernel: int
    exp_size: int
    out: int
    se: bool
    nl: Activation
    s: int
    tap: str = ""


STEM_CHANNELS = 16  # first row: conv2d 3x3, 224^2 x 3, HS, s = 2

TABLE_1_LARGE = (
    #   input  in  k  exp  out  SE     NL  s
    Row(112,  16, 3,  16,  16, False, RE, 1, "c1"),
    Row(112,  16, 3,  64,  24, False, RE, 2),
    Row( 56,  24, 3,  72,  24, False, RE, 1, "c2"),
    Row( 56,  24, 5,  72,  40, True,  RE, 2),
    Row( 28,  40, 5, 120,  40, True,  RE, 1),
    Row( 28,  40, 5, 120,  40, True,  RE, 1, "c3"),
    Row( 28,  40, 3, 240,  80, False, HS, 2),
    Row( 14,  80, 3, 200,  80, False, HS, 1),
    Row( 14,  80, 3, 184,  80, False, HS, 1),
    Row( 14,  80, 3, 184,  80, False, HS, 1),
    Row( 14,  80, 3, 480, 112, True,  HS, 1),
    Row( 14, 112, 3, 672, 112, True,  HS, 1, "c4"),
    Row( 14, 112, 5, 672, 160, True,  HS, 2),
    Row(  7, 160, 5, 960, 160, True,  HS, 1),
    Row(  7, 160, 5, 960, 160, True,  HS, 1, "c5"),
)  # fmt: skip
LARGE_CONV, LARGE_HIDDEN = 960, 1280  # conv2d 1x1 before pooling; conv2d 1x1, NBN, after it

TABLE_2_SMALL = (
    #   input  in  k  exp  out  SE     NL  s
    Row(112, 16, 3, 16, 16, True, RE, 2, "c2"),
    Row(56, 16, 3, 72, 24, False, RE, 2),
    Row(28, 24, 3, 88, 24, False, RE, 1, "c3"),
    Row(28, 24, 5, 96, 40, True, HS, 2),
    Row(14, 40, 5, 240, 40, True, HS, 1),
    Row(14, 40, 5, 240, 40, True, HS, 1),
    Row(14, 40, 5, 120, 48, True, HS, 1),
    Row(14, 48, 5, 144, 48, True, HS, 1, "c4"),
    Row(14, 48, 5, 288, 96, True, HS, 2),
    Row(7, 96, 5, 576, 96, True, HS, 1),
    Row(7, 96, 5, 576, 96, True, HS, 1, "c5"),
)  # fmt: skip  (table 2 lists SE on the 7x7 conv2d row too; the authors' code and every weight file have none there)
SMALL_CONV, SMALL_HIDDEN = 576, 1024


def mobilenet_v3(
    size: Literal["small", "large"],
    *,
    width: float = 1.0,
    minimal: bool = False,
    se_divisor: int = 8,
    fixed_stem: bool = False,
    profile: Profile = "default",
) -> Spec:
    """MobileNet V3 at width α.

    `minimal` is the authors' minimalistic form: no squeeze-and-excite, ReLU for hard-swish, 3x3 for 5x5.
    `se_divisor` rounds the squeeze, make_divisible(expansion / 4, se_divisor).
    With `fixed_stem` the stem keeps 16 channels, as timm has it below α = 0.75; the paper's table 9 scales it.
    Raises UserError on bad values.
    """
    width = check_width(width)
    check_choice("V3 size", size, ("small", "large"))
    se_divisor = check_count("se_divisor", se_divisor, 1)
    large = size == "large"
    rows = TABLE_1_LARGE if large else TABLE_2_SMALL
    conv, hidden = (LARGE_CONV, LARGE_HIDDEN) if large else (SMALL_CONV, SMALL_HIDDEN)
    blocks = lower(rows, conv, width, se_divisor, fixed_stem)
    if minimal:
        blocks = tuple(_minimal(block) for block in blocks)
    return Spec(
        name=f"mobilenet_v3_{size}{'_minimal' if minimal else ''}",
        generation=3,
        width=width,
        blocks=blocks,
        head=Head(
            c_in=blocks[-1].c_out,
            c_hidden=make_divisible(hidden * max(1.0, width)),
            act=RE if minimal else HS,
            dropout=dropout(profile, V3_AUTHORS, 0.2),
        ),
        **conventions(profile, V3_AUTHORS, resolution=224),
    )


def lower(rows: tuple[Row, ...], conv: int, width: float, se_divisor: int, fixed_stem: bool) -> tuple[Block, ...]:
    """Tables 1 and 2 as absolute blocks.

    The expansion is a ratio of the scaled input, make_divisible(scaled input * exp size / input, 8), as in the
    authors' `expand_input`; scaling the printed exp size instead (torchvision) misses the paper's table 9.
    """
    stem = STEM_CHANNELS if fixed_stem else make_divisible(STEM_CHANNELS * width)
    tap = "" if rows[0].s == 1 else "c1"  # V3-Small's first bneck leaves stride 2 to the stem alone
    blocks = [Block(kind="conv", c_in=3, c_mid=stem, c_out=stem, k_mid=3, stride=2, act=HS, tap=tap)]
    for row in rows:
        c_in, c_out = blocks[-1].c_out, make_divisible(row.out * width)
        c_mid = make_divisible(c_in * row.exp_size / row.c_in)
        blocks.append(
            Block(
                kind="separable" if row.exp_size == row.c_in else "inverted",
                c_in=c_in,
                c_mid=c_mid,
                c_out=c_out,
                k_mid=row.kernel,
                stride=row.s,
                act=row.nl,
                linear=True,
                residual=row.s == 1 and c_in == c_out,
                c_se=make_divisible(c_mid / 4, se_divisor) if row.se else 0,
                tap=row.tap,
            )
        )
    c_conv = make_divisible(conv * width)
    blocks.append(Block(kind="conv", c_in=blocks[-1].c_out, c_mid=c_conv, c_out=c_conv, k_mid=1, act=HS))
    return tuple(blocks)


def _minimal(block: Block) -> Block:
    return replace(block, k_mid=min(block.k_mid, 3), c_se=0, act=RE if block.act == HS else block.act)
