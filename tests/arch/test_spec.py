"""Specs as JSON, both ways, and what no Spec can be."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.arch import adapt
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import ACTIVATIONS, Block, Spec, with_blocks
from mobilenets.errors import UserError


def round_trip(spec: Spec) -> Spec:
    return Spec.from_json(json.loads(json.dumps(spec.to_json())))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(list(ARCHITECTURES)))
def test_json_round_trip_over_all_settings(data: st.DataObject, name: str) -> None:
    draw = data.draw
    takes = ARCHITECTURES[name].takes
    own: dict[str, Any] = {
        "channels_per_input": st.integers(1, 4),
        "layer_multiplier": st.floats(0.25, 4),
        "fixed_stem_and_head": st.booleans(),
        "fixed_stem": st.booleans(),
        "se_divisor": st.integers(1, 16),
    }
    classes = draw(st.integers(0, 2000))
    spec = create_spec(
        name,
        width=draw(st.floats(0.05, 2)),
        resolution=draw(st.integers(32, 512)),
        classes=classes,
        background=bool(classes) and draw(st.booleans()),
        in_channels=draw(st.integers(1, 8)),
        dropout=draw(st.floats(0, 0.9)),
        profile=draw(st.sampled_from(["authors", "default"])),
        activation=draw(st.sampled_from([None, *ACTIVATIONS])),
        padding=draw(st.sampled_from([None, "same", "symmetric"])),
        norm_eps=draw(st.floats(1e-8, 1e-2)),
        norm_momentum=draw(st.floats(1e-4, 1)),
        output_stride=draw(st.sampled_from([None, 8, 16, 32])),
        total_stride=draw(st.sampled_from([None, 1, 8, 32])),
        reparam=draw(st.sampled_from([None, True, 0, 4])),
        **{setting: draw(own[setting]) for setting in takes},
    )
    assert round_trip(spec) == spec
    assert round_trip(adapt.folded(spec)) == adapt.folded(spec)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_json_leaves_defaults_out_of_the_blocks_and_is_plain(name: str) -> None:
    document = create_spec(name).to_json()
    assert document["format"] == 1
    assert json.loads(json.dumps(document)) == document
    assert all(block.get("dilation") is None for block in document["blocks"])


def test_a_plain_network_is_the_json_it_always_was() -> None:
    assert "reparam" not in create_spec("mobilenet_v2").to_json()
    assert create_spec("mobilenet_v2", reparam=2).to_json() == create_spec("mobilenet_v2").to_json() | {"reparam": 2}


def test_explicit_padding_and_folded_parts_survive() -> None:
    spec = create_spec("mobilenet_v1")
    first, *rest = spec.blocks
    changed = replace(spec, blocks=(replace(first, pad=(0, 1, 0, 1), folded=("conv",)), *rest))
    assert round_trip(changed) == changed


WRONG: list[tuple[list[str | int], Any, str]] = [
    (["format"], 2, "not a spec of format 1: found 2"),
    (["blocks"], [], "needs at least one block"),
    (["blocks"], 7, "spec.blocks 7 is not possible; allowed: a list"),
    (["blocks", 0], "conv", "spec.blocks[0] 'conv' is not possible; allowed: an object with keys"),
    (["blocks", 0, "kind"], "wavelet", "unknown spec.blocks[0].kind 'wavelet'; allowed: conv, separable"),
    (["blocks", 0, "act"], "swish", "unknown spec.blocks[0].act 'swish'; allowed: relu, relu6"),
    (["blocks", 0, "c_in"], "3", "spec.blocks[0].c_in '3' is not possible; allowed: a value of type int"),
    (["blocks", 0, "c_in"], True, "spec.blocks[0].c_in True is not possible; allowed: a value of type int"),
    (["blocks", 0, "stride"], -2, "spec.blocks[0].stride -2 is out of range: allowed is 0 or more"),
    (["blocks", 0, "stride"], 0, "block 0 has a size, stride or dilation below 1"),
    (["blocks", 0, "pad"], [1, 1], "spec.blocks[0].pad [1, 1] is not possible; allowed: a list of 4 values"),
    (["blocks", 0, "folded"], [1], "spec.blocks[0].folded[0] 1 is not possible; allowed: a value of type str"),
    (["blocks", 0, "k"], 3, "unknown key 'k' in spec.blocks[0]; allowed: kind, c_in"),
    (["blocks", 0, "k_mid"], 0, "block 0 is of kind conv and has no kernel"),
    (["blocks", 0, "c_out"], 40, "block 1 takes 32 channels but gets 40"),
    (["blocks", 1, "residual"], True, "block 1 has a residual but changes channels or resolution"),
    (["blocks", 1, "c_mid"], 33, "block 1 has 33 depthwise channels, no multiple of its 32 input channels"),
    (["head", "c_in"], 7, "the head takes 7 channels but gets 1024"),
    (["head", "classes"], -1, "spec.head.classes -1 is out of range: allowed is 0 or more"),
    (["head", "dropout"], "much", "spec.head.dropout 'much' is not possible; allowed: a value of type float"),
    (["norm", "kind"], "layer", "unknown spec.norm.kind 'layer'; allowed: batch, none"),
    (["reparam"], -1, "spec.reparam -1 is out of range: allowed is 0 or more"),
    (["reparam"], True, "spec.reparam True is not possible; allowed: a value of type int"),
    (["padding"], "valid", "unknown spec.padding 'valid'; allowed: symmetric, same"),
    (["init"], "zeros", "unknown spec.init 'zeros'; allowed: truncated_normal"),
    (["se_gate"], "tanh", "unknown spec.se_gate 'tanh'; allowed: hard_sigmoid, sigmoid"),
    (["profile"], "mine", "unknown spec.profile 'mine'; allowed: authors, default"),
    (["preprocessing", "interpolation"], "nearest", "unknown spec.preprocessing.interpolation 'nearest'; allowed"),
    (["preprocessing", "mean"], [0, 0], "2 means and 3 standard deviations do not fit 3 input channels"),
    (["colour"], "red", "unknown key 'colour' in spec; allowed: name, generation"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=lambda part: str(part)[:40])
def test_wrong_json_is_one_line_that_names_the_place(path: list[str | int], value: Any, message: str) -> None:
    document: Any = create_spec("mobilenet_v1").to_json()
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(UserError) as caught:
        Spec.from_json(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("document", [None, [], "spec", {}, {"format": 1}])
def test_what_is_no_spec_at_all_is_refused(document: Any) -> None:
    with pytest.raises(UserError, match=r"^(not a spec of format 1: found|spec lacks the key 'name')"):
        Spec.from_json(document)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            Block(kind="attention", c_in=8, c_mid=9, c_out=8, heads=2, key_dim=4),
            "9 attention channels instead of 2 heads",
        ),
        (Block(kind="attention", c_in=8, c_mid=8, c_out=8, heads=2, key_dim=4, stride=2), "attention with a stride"),
        (Block(kind="universal", c_in=8, c_mid=8, c_out=8, stride=2), "a stride but no depthwise convolution"),
        (Block(kind="inverted", c_in=8, c_mid=8, c_out=8), "of kind inverted and has no kernel"),
        (Block(kind="conv", c_in=8, c_mid=8, c_out=0, k_mid=3), "a size, stride or dilation below 1"),
    ],
)
def test_blocks_that_no_network_can_have(block: Block, message: str) -> None:
    spec = create_spec("mobilenet_v1")
    stem = replace(spec.blocks[0], c_mid=8, c_out=8)
    with pytest.raises(UserError, match=message):
        with_blocks(spec, (stem, block))


def test_with_blocks_lets_the_head_follow() -> None:
    spec = create_spec("mobilenet_v2")
    assert with_blocks(spec, spec.blocks[:-1]).head.c_in == 320


def test_specs_are_frozen_and_hashable() -> None:
    spec = create_spec("mobilenet_v3_small")
    assert hash(spec) == hash(create_spec("mobilenet_v3_small"))
    with pytest.raises(AttributeError):
        spec.name = "other"  # type: ignore[misc]
