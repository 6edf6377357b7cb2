"""Channels that are cut: what is left computes what the whole network does with them at nought, and loads alone."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Block, Spec, with_blocks
from mobilenets.compress.channels import Group, group_of, groups, with_channels, without_channels
from mobilenets.compress.criteria import CRITERIA, importance, least, sum_gradients_
from mobilenets.errors import UserError
from mobilenets.nn.network import Network, build_network

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mobilenet_v1_025", {}),
    ("mobilenet_v2", {"width": 0.35}),
    ("mobilenet_v3_small", {"width": 0.5}),
    ("mobilenet_v3_large_minimal", {"width": 0.35}),
    ("mobilenet_v4_conv_small", {}),
    ("mobilenet_v4_hybrid_medium", {}),
]
MOST_BLOCKS = 16  # of those that are tried


def spec_of(name: str, settings: dict[str, Any]) -> Spec:
    """Some blocks of a network with 5 classes at 64 pixels: those of a hybrid from shortly before its attention on."""
    spec = create_spec(name, resolution=64, classes=5, **settings)
    if name == "mobilenet_v4_hybrid_medium":
        first = next(index for index, block in enumerate(spec.blocks) if block.kind == "attention")
        narrow = replace(spec.blocks[0], c_out=spec.blocks[first - 4].c_in, c_mid=spec.blocks[first - 4].c_in)
        return with_blocks(spec, (narrow, *spec.blocks[first - 4 : first + 4]))
    return with_blocks(spec, spec.blocks[:MOST_BLOCKS])


def lively(spec: Spec) -> Network:
    """A network in evaluation mode whose normalisations are not trivial."""
    torch.manual_seed(0)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def masked(network: Network, group: Group, kept: Tensor) -> Network:
    """The whole network, what its other channels are normalised to at nought."""
    gone = torch.ones(group.channels, dtype=torch.bool)
    gone[kept] = False
    made = copy.deepcopy(network)
    state = made.state_dict()
    with torch.no_grad():
        for part in group.slices:
            if (
                part.tensor.endswith(("norm.weight", "norm.bias", "hidden.conv.weight", "hidden.conv.bias"))
                and part.dim == 0
            ):
                state[part.tensor][gone] = 0
    return made


def drawn(group: Group, seed: int = 0) -> Tensor:
    """About half of the group's channels."""
    torch.manual_seed(seed)
    return torch.randperm(group.channels)[: max(1, group.channels // 2)].sort().values


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_every_group_cut_equals_the_masked_network(name: str, settings: dict[str, Any]) -> None:
    network = lively(spec_of(name, settings)).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    found = [group for group in groups(network.spec) if group.kind != "block"]
    assert found
    with torch.no_grad():
        for group in found:
            kept = drawn(group)
            cut = without_channels(network, group, kept).double()
            difference = (cut(images) - masked(network, group, kept)(images)).abs().max()
            assert difference < 1e-12, group.name
            assert cut.spec == with_channels(network.spec, group, len(kept))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_many_groups_one_after_the_other(name: str, settings: dict[str, Any]) -> None:
    """All groups at half, in float64, equal to one network with all masks; its Spec goes through JSON and loads."""
    network = lively(spec_of(name, settings)).double()
    whole, cut = network, network
    for group in groups(network.spec):
        if group.kind != "block":
            kept = drawn(group)
            whole = masked(whole, group, kept)
            cut = without_channels(cut, group_of(cut.spec, group.name), kept).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert (cut(images) - whole(images)).abs().max() < 1e-12
    again = build_network(Spec.from_json(json.loads(json.dumps(cut.spec.to_json())))).double().eval()
    again.load_state_dict(cut.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images), cut(images))


def test_a_block_that_goes_leaves_what_the_residual_carries() -> None:
    network = lively(create_spec("mobilenet_v2", width=0.35, resolution=64, classes=5))
    found = [group for group in groups(network.spec) if group.kind == "block"]
    assert [group.blocks[0] for group in found] == [
        index for index, block in enumerate(network.spec.blocks) if block.residual and not block.tap
    ]
    images = torch.randn(2, 3, 64, 64)
    for group in found:
        (index,) = group.blocks
        silent = copy.deepcopy(network)
        nn.init.zeros_(silent.blocks[index].project.norm.weight)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(silent.blocks[index].project.norm.bias)  # type: ignore[union-attr, arg-type]
        cut = without_channels(network, group, ())
        with torch.no_grad():
            assert torch.equal(cut(images), silent(images))
        assert len(cut.spec.blocks) == len(network.spec.blocks) - 1
        assert [tap.name for tap in cut.spec.taps] == [tap.name for tap in network.spec.taps]


def test_groups_of_the_papers_networks() -> None:
    v2 = groups(create_spec("mobilenet_v2"))
    assert sum(group.kind == "expansion" for group in v2) == 16  # every bottleneck but the first
    assert [group.channels for group in v2 if group.kind == "bottleneck"] == [32, 16, 24, 32, 64, 96, 160, 320, 1280]
    v1 = groups(create_spec("mobilenet_v1"))
    assert {group.kind for group in v1} == {"bottleneck"}
    assert len(v1) == 14
    assert group_of(create_spec("mobilenet_v3_large"), "head.hidden").channels == 1280


def test_what_cannot_be_narrowed_is_left_alone() -> None:
    hybrid = create_spec("mobilenet_v4_hybrid_medium")
    attention = {index for index, block in enumerate(hybrid.blocks) if block.kind == "attention"}
    assert attention
    for group in groups(hybrid):
        if group.kind == "bottleneck":
            assert not attention & set(group.blocks)
    doubled = Block(kind="separable", c_in=16, c_mid=32, c_out=24, k_mid=3)
    base = create_spec("mobilenet_v1_025")
    spec = with_blocks(base, (replace(base.blocks[0], c_mid=16, c_out=16), doubled))
    assert [group.name for group in groups(spec)] == ["blocks.1"]  # its depthwise layer has two filters per channel


@pytest.mark.parametrize("kept", [[], [0, 0], [0, 99999]])
def test_impossible_channels_are_one_line(kept: list[int]) -> None:
    network = lively(create_spec("mobilenet_v1_025", resolution=32, classes=3))
    group = groups(network.spec)[0]
    with pytest.raises(UserError, match=r"^blocks\.0: keep 1 to 8 different channels"):
        without_channels(network, group, kept)


def test_unknown_group_is_one_line() -> None:
    with pytest.raises(UserError, match="no group 'blocks\\.77'"):
        group_of(create_spec("mobilenet_v1_025"), "blocks.77")


# Criteria ---------------------------------------------------------------------------------------------------------


def test_least_keeps_the_others_in_order() -> None:
    assert least(torch.tensor([3.0, 1.0, 2.0, 0.5, 1.0]), 2).tolist() == [0, 2, 4]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_silent_channel_is_the_least_by_every_criterion(criterion: str) -> None:
    network = lively(create_spec("mobilenet_v2", width=0.35, resolution=32, classes=3))
    group = group_of(network.spec, "blocks.3.expand")
    state = network.state_dict()
    for part in group.slices:
        if part.dim == 0 and not part.tensor.endswith("running_var"):
            state[part.tensor][5] = 0
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    sum_gradients_(network, [lambda made: nn.functional.cross_entropy(made(images), labels)] * 2)
    scores = importance(network, group, criterion)
    assert scores.shape == (group.channels,)
    assert float(scores[5]) == float(scores.min())
    assert float(scores[5]) == 0
    assert (scores >= 0).all()


def test_taylor_is_what_the_loss_changes_by() -> None:
    """To first order: a gate on one channel, a little closed."""
    network = lively(create_spec("mobilenet_v2", width=0.35, resolution=32, classes=3)).double()
    group = (
        group_of(network.spec, "head.hidden")
        if network.spec.head.c_hidden
        else group_of(network.spec, "blocks.4.expand")
    )
    images, labels = torch.randn(8, 3, 32, 32, dtype=torch.float64), torch.arange(8) % 3

    def loss(made: Network) -> Tensor:
        return nn.functional.cross_entropy(made(images), labels)

    sum_gradients_(network, [loss])
    scores = importance(network, group, "taylor")
    gammas = [part.tensor for part in group.slices if part.tensor.endswith("norm.weight")]
    with torch.no_grad():
        before = loss(network)
        for channel in (0, 3, 7):
            change = 0.0
            for name in gammas:
                closed = copy.deepcopy(network)
                state = closed.state_dict()
                state[name][channel] *= 1 - 1e-5
                state[name.removesuffix("weight") + "bias"][channel] *= 1 - 1e-5
                change += float(before - loss(closed)) / 1e-5
            assert float(scores[channel]) == pytest.approx(change**2, rel=1e-2, abs=1e-12)


def test_criteria_of_batch_norm_need_one() -> None:
    from mobilenets.arch.adapt import folded

    network = build_network(folded(create_spec("mobilenet_v2", width=0.35, resolution=32, classes=3)))
    group = group_of(network.spec, "blocks.3.expand")
    assert importance(network, group, "l1").shape == (group.channels,)
    with pytest.raises(
        UserError, match=r"criterion batch_norm needs one, and it is folded in; allowed: l1, l2, taylor"
    ):
        importance(network, group, "batch_norm")
    with pytest.raises(UserError, match="unknown criterion 'l3'"):
        importance(network, group, "l3")


def test_branches_are_folded_before() -> None:
    with pytest.raises(UserError, match=r"its convolutions have branches \(reparam 2\) where single ones are needed"):
        groups(create_spec("mobilenet_v2", reparam=2))
