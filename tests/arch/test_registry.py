"""Names, and the one function that makes a Spec: every setting does what it says or raises one line."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.arch import v1, v2, v3, v4
from mobilenets.arch.registry import ARCHITECTURES, create_spec, name_with_width, parse_name
from mobilenets.errors import UserError

DESIGNED = {
    "mobilenet_v1",
    "mobilenet_v1_shallow",
    "mobilenet_v1_full_conv",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mobilenet_v3_small_minimal",
    "mobilenet_v3_large_minimal",
    "mobilenet_v4_conv_small",
    "mobilenet_v4_conv_medium",
    "mobilenet_v4_conv_large",
    "mobilenet_v4_hybrid_medium",
    "mobilenet_v4_hybrid_large",
}


def test_the_family_is_complete() -> None:
    assert ARCHITECTURES.keys() == DESIGNED
    assert all("arXiv:" in architecture.source for architecture in ARCHITECTURES.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_width_in_the_name_is_the_same_network(name: str) -> None:
    assert create_spec(f"{name}_075") == create_spec(name, width=0.75)
    assert create_spec(f"{name}_075", width=0.75) == create_spec(name, width=0.75)
    assert create_spec(f"{name}_140").width == 1.4
    assert create_spec(f"{name}_100") == create_spec(name)
    assert create_spec(name).name == name


@given(st.integers(1, 200_000))
def test_names_read_back_exactly(hundred_thousandths: int) -> None:
    width = hundred_thousandths / 100_000
    architecture, found = parse_name(name_with_width("mobilenet_v2", width))
    assert architecture.name == "mobilenet_v2"
    assert (found or 1.0) == width


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("mobilenet_v3_smal", "mobilenet_v3_small"),
        ("mobilenetv2", "mobilenet_v2"),
        ("MobileNetV3_Large", "mobilenet_v3_large"),
        ("mobilenet_v4_conv_medum", "mobilenet_v4_conv_medium"),
        ("mobilenet_v3_small_75", "mobilenet_v3_small"),
        ("mobilenet_v3", "mobilenet_v3_large"),
        ("mobilnet_v3", "mobilenet_v3_small or mobilenet_v3_large"),
        ("mobilenet_v4_hybrid", "mobilenet_v4_hybrid_medium or mobilenet_v4_hybrid_large"),
    ],
)
def test_near_misses_are_suggested(typed: str, suggested: str) -> None:
    with pytest.raises(UserError, match=f"^unknown model '{typed}'; did you mean .*{suggested}") as caught:
        create_spec(typed)
    assert "\n" not in str(caught.value)


def test_a_name_like_nothing_lists_all() -> None:
    with pytest.raises(UserError, match=r"^unknown model 'resnet50'; allowed: mobilenet_v1, "):
        create_spec("resnet50")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("mobilenet_v1", {"width": 0}, "width 0 is out of range: allowed is above 0 and at most 2"),
    ("mobilenet_v1", {"width": 2.5}, "width 2.5 is out of range: allowed is above 0 and at most 2"),
    ("mobilenet_v1", {"width": "0.5"}, "width '0.5' is not a number: allowed is above 0 and at most 2"),
    ("mobilenet_v1_000", {}, "width 0 is out of range: allowed is above 0 and at most 2"),
    ("mobilenet_v1_050", {"width": 0.75}, "width 0.75 contradicts the name 'mobilenet_v1_050': give one of the two"),
    ("mobilenet_v2", {"resolution": 15}, "resolution 15 is out of range: allowed is a whole number, 16 or more pixels"),
    ("mobilenet_v2", {"resolution": 96.5}, "resolution 96.5 is not possible: allowed is a whole number, 16 or more"),
    ("mobilenet_v2", {"resolution": 96, "resolution_multiplier": 0.5}, "contradict each other: give one of the two"),
    (
        "mobilenet_v2",
        {"resolution_multiplier": 0},
        "resolution multiplier 0 is out of range: allowed is above 0 and at",
    ),
    ("mobilenet_v2", {"resolution_multiplier": 0.05}, "resolution 11 is out of range: allowed is a whole number, 16"),
    ("mobilenet_v2", {"classes": -1}, "classes -1 is out of range: allowed is a whole number, 0 or more (0: no class"),
    ("mobilenet_v2", {"classes": 0, "background": True}, "a background class needs a classifier"),
    ("mobilenet_v2", {"in_channels": 0}, "input channels 0 is out of range: allowed is a whole number, 1 or more"),
    ("mobilenet_v2", {"dropout": 1}, "dropout 1 is out of range: allowed is at least 0 and below 1"),
    ("mobilenet_v2", {"dropout": -0.1}, "dropout -0.1 is out of range: allowed is at least 0 and below 1"),
    ("mobilenet_v2", {"profile": "mine"}, "unknown profile 'mine'; allowed: authors, default"),
    ("mobilenet_v2", {"activation": "swish"}, "unknown activation 'swish'; allowed: relu, relu6, hard_swish"),
    ("mobilenet_v2", {"padding": "valid"}, "unknown padding 'valid'; allowed: symmetric, same"),
    ("mobilenet_v2", {"norm_eps": 0}, "BatchNorm epsilon 0 is out of range: allowed is above 0 and below 1"),
    (
        "mobilenet_v2",
        {"norm_momentum": 1.5},
        "BatchNorm momentum 1.5 is out of range: allowed is above 0 and at most 1",
    ),
    ("mobilenet_v2", {"output_stride": 4}, "output_stride 4 is not possible; allowed: 8, 16, 32"),
    (
        "mobilenet_v2",
        {"total_stride": 12},
        "total stride of mobilenet_v2 12 is not possible; allowed: 32, 16, 8, 4, 2, 1",
    ),
    ("mobilenet_v1", {"channels_per_input": 0}, "channels_per_input 0 is out of range: allowed is a whole number, 1"),
    (
        "mobilenet_v2",
        {"channels_per_input": 2},
        "mobilenet_v2 has no setting channels_per_input (2); allowed: layer_mul",
    ),
    ("mobilenet_v4_conv_small", {"fixed_stem": True}, "has no setting fixed_stem (True); allowed: none of its own"),
    ("mobilenet_v2", {"layer_multiplier": 0}, "layer_multiplier 0 is out of range: allowed is above 0 and at most 4"),
    ("mobilenet_v3_small", {"se_divisor": 0}, "se_divisor 0 is out of range: allowed is a whole number, 1 or more"),
]


@pytest.mark.parametrize(("name", "settings", "message"), WRONG, ids=lambda part: str(part)[:40])
def test_wrong_values_raise_one_line_with_the_value_and_what_is_allowed(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        create_spec(name, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [create_spec, v1.mobilenet_v1, v2.mobilenet_v2, v3.mobilenet_v3, v4.mobilenet_v4])
def test_a_misspelt_argument_raises(build: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_clases'"):
        build(num_clases=5)
    parameters = inspect.signature(build).parameters.values()
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (v1.mobilenet_v1, {"variant": "deep"}, "unknown V1 variant 'deep'; allowed: standard, shallow, full_conv"),
        (v3.mobilenet_v3, {"size": "medium"}, "unknown V3 size 'medium'; allowed: small, large"),
        (v4.mobilenet_v4, {"size": "conv_huge"}, "unknown V4 size 'conv_huge'; allowed: conv_small, conv_medium"),
    ],
)
def test_the_generations_own_builders_check_too(build: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**arguments)


def test_settings_reach_the_spec() -> None:
    spec = create_spec(
        "mobilenet_v2_050",
        resolution_multiplier=0.714,
        classes=5,
        background=True,
        in_channels=4,
        dropout=0.5,
        activation="leaky_relu",
        padding="same",
        norm_eps=1e-4,
        norm_momentum=0.01,
    )
    assert (spec.resolution, spec.head.outputs, spec.in_channels, spec.head.dropout) == (160, 6, 4, 0.5)
    assert {block.act for block in spec.blocks} == {"leaky_relu"}
    assert (spec.padding, spec.norm.eps, spec.norm.momentum) == ("same", 1e-4, 0.01)
    assert len(spec.preprocessing.mean) == 4
    assert create_spec("mobilenet_v4_conv_large").resolution == 384
