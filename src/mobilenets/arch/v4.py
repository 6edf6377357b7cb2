"""MobileNet V4 (Qin et al. 2024, arXiv:2404.10518): Conv-S/M/L and Hybrid-M/L, the appendix' architecture tables."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .check import check_choice
from .profiles import V4_AUTHORS, V4_CONV_SMALL_AUTHORS, Authors, conventions, dropout
from .spec import Activation, Block, Head, Profile, Spec
from .widths import check_width, make_divisible


class Conv(NamedTuple):
    """A `Conv2D` row: kernel, output channels, stride."""

    kernel: int
    out: int
    stride: int
    tap: str = ""


class Fused(NamedTuple):
    """A `FusedIB` row: kernel of the expanding convolution, expanded size, output channels, stride."""

    kernel: int
    expanded: int
    out: int
    stride: int
    tap: str = ""


class Universal(NamedTuple):
    """A universal inverted bottleneck row: DW K1 (start), DW K2 (middle), expanded size, output channels, stride.

    ExtraDW has both kernels, IB only K2, ConvNext only K1, FFN none; 0 stands for the paper's dash.
    """

    dw_start: int
    dw_mid: int
    expanded: int
    out: int
    stride: int
    tap: str = ""


class Mqa(NamedTuple):
    """A `Mobile MQA` row: heads, key dimension, output channels; `kv_stride` 2 is the row with downsampled keys."""

    heads: int
    key_dim: int
    out: int
    kv_stride: int
    tap: str = ""


Row = Conv | Fused | Universal | Mqa
C, F, U, A = Conv, Fused, Universal, Mqa

CONV_SMALL = (
    # kind  k        out  s
    C(3,             32,  2, "c1"),  # the stem
    C(3,             32,  2),
    C(1,             32,  1, "c2"),
    C(3,             96,  2),
    C(1,             64,  1, "c3"),
    # kind  K1 K2 exp  out  s
    U(5, 5,   192,   96,  2),
    U(0, 3,   192,   96,  1),
    U(0, 3,   192,   96,  1),
    U(0, 3,   192,   96,  1),
    U(0, 3,   192,   96,  1),
    U(3, 0,   384,   96,  1, "c4"),
    U(3, 3,   576,  128,  2),
    U(5, 5,   512,  128,  1),
    U(0, 5,   512,  128,  1),
    U(0, 5,   384,  128,  1),
    U(0, 3,   512,  128,  1),
    U(0, 3,   512,  128,  1, "c5"),
    C(1,            960,  1),
)  # fmt: skip

CONV_MEDIUM = (
    C(3,             32,  2, "c1"),
    F(3,      128,   48,  2, "c2"),
    U(3, 5,   192,   80,  2),
    U(3, 3,   160,   80,  1, "c3"),
    U(3, 5,   480,  160,  2),
    U(3, 3,   640,  160,  1),
    U(3, 3,   640,  160,  1),
    U(3, 5,   640,  160,  1),
    U(3, 3,   640,  160,  1),
    U(3, 0,   640,  160,  1),
    U(0, 0,   320,  160,  1),
    U(3, 0,   640,  160,  1, "c4"),
    U(5, 5,   960,  256,  2),
    U(5, 5,  1024,  256,  1),
    U(3, 5,  1024,  256,  1),
    U(3, 5,  1024,  256,  1),
    U(0, 0,  1024,  256,  1),
    U(3, 0,  1024,  256,  1),
    U(3, 5,   512,  256,  1),
    U(5, 5,  1024,  256,  1),
    U(0, 0,  1024,  256,  1),
    U(0, 0,  1024,  256,  1),
    U(5, 0,   512,  256,  1, "c5"),
    C(1,            960,  1),
)  # fmt: skip

CONV_LARGE = (
    C(3,             24,  2, "c1"),
    F(3,       96,   48,  2, "c2"),
    U(3, 5,   192,   96,  2),
    U(3, 3,   384,   96,  1, "c3"),
    U(3, 5,   384,  192,  2),
    U(3, 3,   768,  192,  1),
    U(3, 3,   768,  192,  1),
    U(3, 3,   768,  192,  1),
    U(3, 5,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(3, 0,   768,  192,  1, "c4"),
    U(5, 5,   768,  512,  2),
    U(5, 5,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 3,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 3,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 0,  2048,  512,  1, "c5"),
    C(1,            960,  1),
)  # fmt: skip

HYBRID_MEDIUM = (
    C(3,             32,  2, "c1"),
    F(3,      128,   48,  2, "c2"),
    U(3, 5,   192,   80,  2),
    U(3, 3,   160,   80,  1, "c3"),
    U(3, 5,   480,  160,  2),
    U(0, 0,   320,  160,  1),
    U(3, 3,   640,  160,  1),
    U(3, 5,   640,  160,  1),
    A(4, 64,        160,  2),
    U(3, 3,   640,  160,  1),
    A(4, 64,        160,  2),
    U(3, 0,   640,  160,  1),
    A(4, 64,        160,  2),
    U(3, 3,   640,  160,  1),
    A(4, 64,        160,  2),
    U(3, 0,   640,  160,  1, "c4"),
    U(5, 5,   960,  256,  2),
    U(5, 5,  1024,  256,  1),
    U(3, 5,  1024,  256,  1),
    U(3, 5,  1024,  256,  1),
    U(0, 0,   512,  256,  1),
    U(3, 5,   512,  256,  1),
    U(0, 0,   512,  256,  1),
    U(0, 0,  1024,  256,  1),
    A(4, 64,        256,  1),
    U(3, 0,  1024,  256,  1),
    A(4, 64,        256,  1),
    U(5, 5,  1024,  256,  1),
    A(4, 64,        256,  1),
    U(5, 0,  1024,  256,  1),
    A(4, 64,        256,  1),
    U(5, 0,  1024,  256,  1, "c5"),
    C(1,            960,  1),
)  # fmt: skip

HYBRID_LARGE = (
    C(3,             24,  2, "c1"),
    F(3,       96,   48,  2, "c2"),
    U(3, 5,   192,   96,  2),
    U(3, 3,   384,   96,  1, "c3"),
    U(3, 5,   384,  192,  2),
    U(3, 3,   768,  192,  1),
    U(3, 3,   768,  192,  1),
    U(3, 3,   768,  192,  1),
    U(3, 5,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    U(5, 3,   768,  192,  1),
    A(8, 48,        192,  2),
    U(5, 3,   768,  192,  1),
    A(8, 48,        192,  2),
    U(5, 3,   768,  192,  1),
    A(8, 48,        192,  2),
    U(5, 3,   768,  192,  1),
    A(8, 48,        192,  2),
    U(3, 0,   768,  192,  1, "c4"),
    U(5, 5,   768,  512,  2),
    U(5, 5,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 3,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 0,  2048,  512,  1),
    U(5, 3,  2048,  512,  1),
    U(5, 5,  2048,  512,  1),
    A(8, 64,        512,  1),
    U(5, 0,  2048,  512,  1),
    A(8, 64,        512,  1),
    U(5, 0,  2048,  512,  1),
    A(8, 64,        512,  1),
    U(5, 0,  2048,  512,  1),
    A(8, 64,        512,  1),
    U(5, 0,  2048,  512,  1, "c5"),
    C(1,            960,  1),
)  # fmt: skip

HIDDEN_CHANNELS = 1280  # Conv2D 1x1 after pooling, every variant

Size = Literal["conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large"]


class Variant(NamedTuple):
    """One table of the paper, the input size it was trained at, its activation, and the authors' conventions."""

    rows: tuple[Row, ...]
    resolution: int
    act: Activation
    authors: Authors = V4_AUTHORS


VARIANTS: dict[str, Variant] = {
    "conv_small": Variant(CONV_SMALL, 224, "relu", V4_CONV_SMALL_AUTHORS),
    "conv_medium": Variant(CONV_MEDIUM, 256, "relu"),
    "conv_large": Variant(CONV_LARGE, 384, "relu"),
    "hybrid_medium": Variant(HYBRID_MEDIUM, 256, "relu"),
    "hybrid_large": Variant(HYBRID_LARGE, 384, "gelu"),
}
LAYER_SCALE = 1e-5  # initial value in the hybrids: layer_scale_init_value in official/vision layers/nn_blocks.py


def mobilenet_v4(size: Size, *, width: float = 1.0, profile: Profile = "default") -> Spec:
    """MobileNet V4 at width α.

    Channels are make_divisible(c * α, 8); for α < 1 the stem and the 1280-wide layer after pooling stay as they are.
    Raises UserError when the size is unknown or the width outside (0, 2].
    """
    width = check_width(width)
    check_choice("V4 size", size, VARIANTS)
    rows, resolution, act, authors = VARIANTS[size]
    blocks = lower(rows, width, act, layer_scale=LAYER_SCALE if size.startswith("hybrid") else 0.0)
    return Spec(
        name=f"mobilenet_v4_{size}",
        generation=4,
        width=width,
        blocks=blocks,
        head=Head(
            c_in=blocks[-1].c_out,
            c_hidden=make_divisible(HIDDEN_CHANNELS * max(1.0, width)),
            hidden_norm=True,
            act=act,
            dropout=dropout(profile, authors, 0.2),
        ),
        **conventions(profile, authors, resolution=resolution),
    )


def lower(rows: tuple[Row, ...], width: float, act: Activation, *, layer_scale: float) -> tuple[Block, ...]:
    """The paper's rows as absolute blocks; the expanded size is a ratio of the scaled input."""
    blocks: list[Block] = []
    c_in, c_in_unscaled = 3, 3
    for index, row in enumerate(rows):
        fixed = index == 0 and width < 1
        c_out = row.out if fixed else make_divisible(row.out * width)
        blocks.append(_block(row, c_in, c_in_unscaled, c_out, act, layer_scale))
        c_in, c_in_unscaled = c_out, row.out
    return tuple(blocks)


def _block(row: Row, c_in: int, c_in_unscaled: int, c_out: int, act: Activation, layer_scale: float) -> Block:
    if isinstance(row, Conv):
        return Block(
            kind="conv", c_in=c_in, c_mid=c_out, c_out=c_out, k_mid=row.kernel, stride=row.stride, act=act, tap=row.tap
        )
    if isinstance(row, Mqa):
        return Block(
            kind="attention",
            c_in=c_in,
            c_mid=row.heads * row.key_dim,
            c_out=c_out,
            act="identity",
            residual=True,
            layer_scale=layer_scale,
            heads=row.heads,
            key_dim=row.key_dim,
            k_kv=3 if row.kv_stride > 1 else 0,
            kv_stride=row.kv_stride,
            tap=row.tap,
        )
    universal = isinstance(row, Universal)
    return Block(
        kind="universal" if universal else "fused",
        c_in=c_in,
        c_mid=make_divisible(c_in * row.expanded / c_in_unscaled),
        c_out=c_out,
        k_start=row.dw_start if isinstance(row, Universal) else 0,
        k_mid=row.dw_mid if isinstance(row, Universal) else row.kernel,
        stride=row.stride,
        act=act,
        linear=True,
        residual=row.stride == 1 and c_in == c_out,
        layer_scale=layer_scale if universal else 0.0,
        tap=row.tap,
    )
