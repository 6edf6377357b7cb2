"""Width multipliers: each generation's own published rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.widths import check_width, make_divisible, scale_v1
from mobilenets.errors import UserError


@given(st.floats(0.5, 4096), st.sampled_from([1, 2, 4, 8, 16]))
def test_make_divisible_is_the_nearest_multiple_at_most_a_tenth_below(channels: float, divisor: int) -> None:
    found = make_divisible(channels, divisor)
    assert found % divisor == 0
    assert found >= divisor
    assert found >= 0.9 * channels
    multiples = range(divisor, int(channels) + 3 * divisor, divisor)
    nearest = min(abs(multiple - channels) for multiple in multiples)
    if abs(found - channels) > nearest:  # only because the nearest one is too far below
        assert max(multiple for multiple in multiples if multiple <= channels) < 0.9 * channels


def test_v1_cuts_off_and_keeps_a_minimum() -> None:
    assert [scale_v1(channels, 0.35) for channels in (32, 64, 128, 512, 1024)] == [11, 22, 44, 179, 358]
    assert scale_v1(32, 0.1) == 8
    assert scale_v1(32, 0.1, minimum=16) == 16
    assert min(block.c_out for block in create_spec("mobilenet_v1", width=0.01).blocks) == 8


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("width", [0.01, 0.1, 0.35, 0.6, 0.9, 1.0, 1.1, 1.75, 2.0])
def test_any_width_up_to_two_gives_a_network(name: str, width: float) -> None:
    spec = create_spec(name, width=width)
    assert spec.width == width
    step = 1 if spec.generation == 1 else 8
    sizes = {size for block in spec.blocks for size in (block.c_mid, block.c_out)} | {spec.head.c_embedding}
    assert all(size >= 8 for size in sizes)
    if spec.generation > 1:
        assert {size % step for block in spec.blocks for size in (block.c_out,)} == {0}


@pytest.mark.parametrize("width", [0, -1, 2.01, float("nan"), float("inf"), "wide", True, None])
def test_other_widths_are_refused_by_name(width: object) -> None:
    with pytest.raises(UserError, match=r"^width .* allowed is above 0 and at most 2$"):
        check_width(width)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "hidden_or_last"),
    [
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_small", 1024),
        ("mobilenet_v3_large", 1280),
        ("mobilenet_v4_conv_small", 1280),
    ],
)
def test_the_last_layer_is_not_thinned_below_width_one(name: str, hidden_or_last: int) -> None:
    for width in (0.25, 0.35, 0.5, 0.75, 1.0):
        assert create_spec(name, width=width).head.c_embedding == hidden_or_last
    assert create_spec(name, width=1.25).head.c_embedding == hidden_or_last * 5 // 4
    assert create_spec(name, width=2).head.c_embedding == hidden_or_last * 2


def test_v3_and_v2_expand_the_scaled_input() -> None:
    """V3-Small's block from 24 channels to 88: at 0.75 its input stays 24, so 88 stays; torchvision scales it to 64."""
    blocks = create_spec("mobilenet_v3_small", width=0.75).blocks
    assert (blocks[3].c_in, blocks[3].c_mid) == (24, 88)
    for block in create_spec("mobilenet_v2", width=0.35).blocks[2:-1]:
        assert block.c_mid == 6 * block.c_in


def test_v4_keeps_its_stem_below_width_one_and_scales_it_above() -> None:
    assert [create_spec("mobilenet_v4_conv_small", width=width).blocks[0].c_out for width in (0.5, 1.0, 1.5)] == [
        32,
        32,
        48,
    ]
    assert create_spec("mobilenet_v4_conv_large", width=0.25).blocks[0].c_out == 24


def test_layer_multiplier_lengthens_the_inner_rows_alone() -> None:
    """timm's 110d: width 1.1, 1.2 times as many layers, stem 32 and last convolution 1280."""
    spec = create_spec("mobilenet_v2", width=1.1, layer_multiplier=1.2, fixed_stem_and_head=True)
    assert len(spec.blocks) == 2 + 1 + 3 + 4 + 5 + 4 + 4 + 1
    assert (spec.blocks[0].c_out, spec.blocks[-1].c_out) == (32, 1280)
    assert [tap.name for tap in spec.taps] == ["c1", "c2", "c3", "c4", "c5"]
