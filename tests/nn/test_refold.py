"""BatchNorm back in a folded network: the same function, normalised again in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilenets.arch.adapt import folded
from mobilenets.arch.registry import create_spec
from mobilenets.errors import UserError
from mobilenets.nn.layers import ConvNormAct
from mobilenets.nn.network import Network, build_network
from mobilenets.nn.refold import refresh_, set_momentum_, with_batch_norm

MODELS = [
    "mobilenet_v1_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small_075",
    "mobilenet_v3_large_minimal",
    "mobilenet_v4_conv_small",
    "mobilenet_v4_hybrid_medium",
]


def images(count: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 3, 64, 64, generator=generator) for _ in range(count)]


def folded_network(name: str) -> Network:
    """A folded network with biases that matter: some negative, so that activations cut."""
    torch.manual_seed(1)
    network = build_network(folded(create_spec(name, classes=7, resolution=64)))
    for layer in network.modules():
        if isinstance(layer, ConvNormAct) and layer.conv.bias is not None:
            nn.init.normal_(layer.conv.bias, std=0.3)
    return network.eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_function_stays_and_the_statistics_are_those_of_the_images(name: str) -> None:
    network = folded_network(name)
    made = with_batch_norm(network, images())
    assert made.spec.norm.kind == "batch"
    with torch.no_grad():
        for batch in (*images(), *images(1, seed=5)):
            ours, theirs = made(batch), network(batch)
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    norms = [layer for layer in made.modules() if isinstance(layer, ConvNormAct) and isinstance(layer.norm, nn.Module)]
    seen: dict[int, torch.Tensor] = {}
    hooks = [n.conv.register_forward_hook(lambda m, _, y: seen.__setitem__(id(m), y)) for n in norms]
    made(torch.cat(images()))
    for hook in hooks:
        hook.remove()
    for layer in norms:
        if isinstance(layer.norm, nn.BatchNorm2d):
            y = seen[id(layer.conv)].detach()
            assert torch.allclose(layer.norm.running_mean, y.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)  # type: ignore[arg-type]


def test_in_training_mode_it_is_normalised_again() -> None:
    """A convolution ten times too large is ten times too large where folded; BatchNorm takes it back."""
    network = folded_network("mobilenet_v2_035")
    made = with_batch_norm(network, images())
    batch = torch.cat(images())

    def spread(one: Network) -> float:
        with torch.no_grad():
            return float(one.train().features(batch, ["c2"])["c2"].std())

    before = spread(network), spread(made)
    for one in (network, made):
        one.blocks[2].project.conv.weight.data *= 10
        one.blocks[3].project.conv.weight.data *= 10
    assert spread(network) > 3 * before[0]
    assert spread(made) == pytest.approx(before[1], rel=0.01)


def test_a_network_with_batch_norm_and_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="is not folded"):
        with_batch_norm(build_network(create_spec("mobilenet_v1_025")), images())
    with pytest.raises(UserError, match="no images to measure"):
        with_batch_norm(folded_network("mobilenet_v1_025"), [])


def test_refresh_gives_the_mean_of_the_batches_and_restores_momentum() -> None:
    network = build_network(create_spec("mobilenet_v1_025", classes=3, resolution=64))
    batches = images(3)
    refresh_(network, batches)
    first = network.blocks[0].conv
    expected = torch.stack([first.conv(b).mean((0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(first.norm.running_mean, expected, atol=1e-5)
    assert first.norm.momentum == network.spec.norm.momentum
    assert not network.training
    set_momentum_(network, 0.3)
    assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.3}
