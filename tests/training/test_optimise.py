"""Which weights decay, and what happens to a gradient before the step."""

from __future__ import annotations

import pytest
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.nn.network import Network, build_network
from mobilenets.training.optimise import make_optimiser, set_rate_, step_
from mobilenets.training.recipe import Optimiser


def network() -> Network:
    torch.manual_seed(0)
    return build_network(create_spec("mobilenet_v3_small_025", classes=3))


def decayed(settings: Optimiser) -> set[str]:
    net = network()
    optimiser = make_optimiser(net, settings)
    ids = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(net.parameters()))
    return {name for name, p in net.named_parameters() if id(p) in ids}


def test_the_groups_that_decay() -> None:
    everything = {name for name, _ in network().named_parameters()}
    assert decayed(Optimiser(decay="all")) == everything
    kernels = decayed(Optimiser())
    assert kernels == {name for name, p in network().named_parameters() if p.ndim > 1}
    spared = kernels - decayed(Optimiser(decay="no_norm_no_depthwise"))
    assert spared == {name for name in kernels if ".depthwise" in name}
    assert len(spared) == 11


def test_l2_spares_depthwise_kernels_and_what_does_not_decay() -> None:
    net = network()
    optimiser = make_optimiser(net, Optimiser(weight_decay=0.01, l2=1e-5))
    ids = {id(p) for group in optimiser.param_groups if group["l2"] for p in group["params"]}
    regularised = {name for name, p in net.named_parameters() if id(p) in ids}
    assert regularised == decayed(Optimiser(decay="no_norm_no_depthwise"))
    assert decayed(Optimiser(l2=1e-5)) == decayed(Optimiser())


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop_tf"])
def test_every_optimiser_lowers_a_loss(name: str) -> None:
    net = network().eval()
    settings = Optimiser(name=name, lr=0.01)  # type: ignore[arg-type]
    optimiser = make_optimiser(net, settings)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    losses = []
    for _ in range(6):
        set_rate_(optimiser, settings.lr)
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        step_(optimiser, list(net.parameters()), settings)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_clipping_and_l2() -> None:
    """With SGD without momentum at rate 1 a step is the gradient that was left."""

    def moved(settings: Optimiser) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
        weight.grad = torch.tensor([[3.0, 4.0]])
        optimiser = torch.optim.SGD([{"params": [weight], "l2": settings.l2}], lr=1.0)
        before = weight.detach().clone()
        step_(optimiser, [weight], settings)
        return before - weight.detach()

    assert torch.allclose(moved(Optimiser(clip_norm=0)), torch.tensor([[3.0, 4.0]]))
    assert torch.allclose(moved(Optimiser(clip_norm=1)), torch.tensor([[0.6, 0.8]]), atol=1e-5)
    assert torch.allclose(moved(Optimiser(clip_norm=0, clip_value=3.5)), torch.tensor([[3.0, 3.5]]))
    assert torch.allclose(moved(Optimiser(clip_norm=0, l2=0.5)), torch.tensor([[3.5, 3.0]]))
