"""The tables in the code state the papers' own columns: input sizes, channels and strides follow from one another."""

from __future__ import annotations

import pytest

from mobilenets.arch import v1, v2, v3, v4
from mobilenets.arch.cost import cost
from mobilenets.arch.graph import graph
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec


def input_sizes(spec: Spec) -> list[tuple[int, int]]:
    """(side, channels) of what each block takes, from the graph at the network's own resolution."""
    shapes = {"input": (spec.in_channels, spec.resolution, spec.resolution)}
    found: dict[int, tuple[int, int]] = {}
    for op in graph(spec):
        shapes[op.name] = op.shape
        if op.block >= 0 and op.block not in found:
            channels, side, _ = shapes[op.inputs[0]]
            found[op.block] = (side, channels)
    return [found[index] for index in range(len(spec.blocks))]


def test_v1_rows() -> None:
    taken = input_sizes(create_spec("mobilenet_v1"))[1:]
    assert taken == [(row.input_size, row.c_in) for row in v1.TABLE_1]


def test_v2_rows() -> None:
    spec = create_spec("mobilenet_v2")
    taken = input_sizes(spec)[1:-1]
    firsts = [sum(row.n for row in v2.TABLE_2[:index]) for index in range(len(v2.TABLE_2))]
    assert [taken[first] for first in firsts] == [(row.input_size, row.c_in) for row in v2.TABLE_2]


@pytest.mark.parametrize(("name", "rows"), [("large", v3.TABLE_1_LARGE), ("small", v3.TABLE_2_SMALL)])
def test_v3_rows(name: str, rows: tuple[v3.Row, ...]) -> None:
    spec = create_spec(f"mobilenet_v3_{name}")
    assert input_sizes(spec)[1:-1] == [(row.input_size, row.c_in) for row in rows]
    assert [block.c_mid for block in spec.blocks[1:-1]] == [row.exp_size for row in rows]
    assert [bool(block.c_se) for block in spec.blocks[1:-1]] == [row.se for row in rows]


@pytest.mark.parametrize("size", v4.VARIANTS)
def test_v4_rows(size: str) -> None:
    spec = create_spec(f"mobilenet_v4_{size}")
    rows = v4.VARIANTS[size].rows
    assert [block.c_out for block in spec.blocks] == [row.out for row in rows]
    for block, row in zip(spec.blocks, rows, strict=True):
        if isinstance(row, v4.Universal):
            assert (block.kind, block.k_start, block.k_mid, block.c_mid) == (
                "universal",
                row.dw_start,
                row.dw_mid,
                row.expanded,
            )
        if isinstance(row, v4.Mqa):
            assert (block.kind, block.heads, block.key_dim, block.kv_stride) == (
                "attention",
                row.heads,
                row.key_dim,
                row.kv_stride,
            )
            assert block.residual


def test_v4_stages_have_the_papers_expansion_ratios() -> None:
    """`_mnv4_conv_medium_block_specs` in official/vision's mobilenet.py writes ratios where the paper prints sizes."""
    blocks = [block for block in create_spec("mobilenet_v4_conv_medium").blocks if block.kind == "universal"]
    expected = [4, 2, 6, 4, 4, 4, 4, 4, 2, 4, 6, 4, 4, 4, 4, 4, 2, 4, 4, 4, 2]
    assert [block.c_mid / block.c_in for block in blocks] == expected


def test_minimalistic_has_no_squeeze_no_hard_swish_and_no_5x5() -> None:
    for size in ("small", "large"):
        full, minimal = create_spec(f"mobilenet_v3_{size}"), create_spec(f"mobilenet_v3_{size}_minimal")
        assert all(b.c_se == 0 and b.act == "relu" and b.k_mid <= 3 for b in minimal.blocks)
        assert minimal.head.act == "relu"
        assert [(b.c_in, b.c_mid, b.c_out, b.stride) for b in minimal.blocks] == [
            (b.c_in, b.c_mid, b.c_out, b.stride) for b in full.blocks
        ]


def test_shallow_leaves_the_five_14x14x512_layers_out() -> None:
    full, shallow = create_spec("mobilenet_v1"), create_spec("mobilenet_v1_shallow")
    gone = [b for b in full.blocks if (b.c_in, b.c_out) == (512, 512)]
    assert len(gone) == 5
    assert [sizes(b) for b in full.blocks if b not in gone] == [sizes(b) for b in shallow.blocks]


def sizes(block: object) -> tuple[object, ...]:
    return tuple(getattr(block, name) for name in ("kind", "c_in", "c_mid", "c_out", "k_mid", "stride"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_taps_stand_at_every_stride(name: str) -> None:
    """official/vision marks the same feature maps (`is_output`); V1's and V2's names there are levels 2 to 5."""
    taps = create_spec(name).taps
    assert [(tap.name, tap.stride) for tap in taps] == [(f"c{level}", 2**level) for level in range(1, 6)]


@pytest.mark.parametrize(
    ("name", "channels"),
    [  # `mobilenet_layers` in official/vision/modeling/backbones/mobilenet_test.py; V4 from `is_output` in mobilenet.py
        ("mobilenet_v1", [128, 256, 512, 1024]),
        ("mobilenet_v2", [24, 32, 96, 320]),
        ("mobilenet_v3_small", [16, 24, 48, 96]),
        ("mobilenet_v3_large", [24, 40, 112, 160]),
        ("mobilenet_v4_conv_small", [32, 64, 96, 128]),
        ("mobilenet_v4_conv_medium", [48, 80, 160, 256]),
        ("mobilenet_v4_conv_large", [48, 96, 192, 512]),
        ("mobilenet_v4_hybrid_medium", [48, 80, 160, 256]),
        ("mobilenet_v4_hybrid_large", [48, 96, 192, 512]),
    ],
)
def test_taps_are_the_authors_feature_maps(name: str, channels: list[int]) -> None:
    assert [tap.channels for tap in create_spec(name).taps[1:]] == channels


def test_channels_per_input_multiplies_the_depthwise_filters() -> None:
    one, two = cost(create_spec("mobilenet_v1")), cost(create_spec("mobilenet_v1", channels_per_input=2))
    for before, after in zip(one.ops, two.ops, strict=True):
        factor = 2 if before.kind == "depthwise" or "pointwise" in before.name else 1
        assert after.macs == factor * before.macs
