"""Initial weights have the statistics that each profile's table states."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mobilenets.arch.registry import create_spec
from mobilenets.nn.blocks import MobileMQA
from mobilenets.nn.network import Network, build_network


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def layers(network: Network) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """Convolutions and linear layers of enough values to measure."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() >= 500:
            yield name, module


def test_biases_are_zero_and_batch_norm_is_the_identity() -> None:
    for name in ("mobilenet_v3_small", "mobilenet_v4_hybrid_medium"):
        network = build_network(create_spec(name, width=0.25, profile="authors"))
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                assert not module.bias.any()
            if isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all()
                assert not module.bias.any()


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_slims_truncated_normal(name: str) -> None:
    """0.09 before the cut at two standard deviations, 0.0792 after it; every layer, the classifier too."""
    for place, layer in layers(build_network(create_spec(name, profile="authors"))):
        assert layer.weight.abs().max() <= 0.18, place
        tolerance = 4 / math.sqrt(layer.weight.numel())
        assert layer.weight.std().item() == pytest.approx(0.09 * 0.87962566, rel=tolerance), place
        assert abs(layer.weight.mean()) < 0.09 * tolerance, place


def test_kerass_variance_scaling() -> None:
    """Variance 1 / fan-in; a depthwise kernel's fan-in is all its channels' taps, as Keras counts; Dense ±0.05."""
    network = build_network(create_spec("mobilenet_v4_conv_small", profile="authors"))
    for place, layer in layers(network):
        tolerance = 4 / math.sqrt(layer.weight.numel())
        if isinstance(layer, nn.Linear):
            assert layer.weight.abs().max() <= 0.05
            assert layer.weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=tolerance)
            continue
        fan_in = layer.in_channels * layer.kernel_size[0] ** 2
        assert layer.weight.std().item() == pytest.approx(math.sqrt(1 / fan_in), rel=tolerance), place
        assert layer.weight.abs().max() <= 2 * math.sqrt(1 / fan_in) / 0.87962566 + 1e-6, place


def test_kerass_default_inside_attention() -> None:
    network = build_network(create_spec("mobilenet_v4_hybrid_medium", profile="authors"))
    attention = next(block for block in network.blocks if isinstance(block, MobileMQA))
    for layer, fans in ((attention.query, 160 + 256), (attention.key, 160 + 64), (attention.output, 256 + 160)):
        limit = math.sqrt(6 / fans)
        assert layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    down = attention.key_down.conv.weight  # type: ignore[union-attr]
    assert isinstance(down, torch.Tensor)
    assert down.abs().max() <= math.sqrt(6 / (9 * 160 + 9))
    assert (attention.layer_scale.gamma == 1e-5).all()  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v4_hybrid_medium"])
def test_kaiming_of_the_default_profile(name: str) -> None:
    for place, layer in layers(build_network(create_spec(name))):
        tolerance = 4 / math.sqrt(layer.weight.numel())
        if isinstance(layer, nn.Linear):
            expected = 0.01
        else:
            expected = math.sqrt(2 / (layer.out_channels // layer.groups * layer.kernel_size[0] ** 2))
        assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance), place


@pytest.mark.parametrize("profile", ["authors", "default"])
def test_reset_head_initialises_like_the_profile(profile: str) -> None:
    network = build_network(create_spec("mobilenet_v1", width=0.5, profile=profile))  # type: ignore[arg-type]
    network.reset_head(100)
    assert network.head.classifier is not None
    expected = 0.09 * 0.87962566 if profile == "authors" else 0.01
    assert network.head.classifier.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert not network.head.classifier.bias.any()
