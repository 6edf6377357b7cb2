"""The deployed network: another Spec, the same function."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Profile, Spec
from mobilenets.nn.deployed import deployed
from mobilenets.nn.layers import LayerScale
from mobilenets.nn.network import Network, build_network
from mobilenets.nn.refold import with_batch_norm


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def trained(name: str, **settings: object) -> Network:
    """A narrow network in evaluation mode whose statistics are those of noise."""
    torch.manual_seed(0)
    network = build_network(create_spec(name, width=0.25, resolution=64, classes=5, **settings))  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, LayerScale):
            nn.init.uniform_(module.gamma, 0.1, 0.3)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images(8, 3, 64, 64))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.clamp_(min=0.1)  # a channel that hardly varies would blow rounding up
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("profile", "branches"), [("default", 2), ("authors", 1), ("authors", 0)])
def test_the_function_stays(name: str, profile: Profile, branches: int) -> None:
    network = trained(name, profile=profile, reparam=branches)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    plain = deployed(network)
    assert (plain.spec.reparam, plain.spec.norm.kind, plain.training) == (0, "none", False)
    with torch.inference_mode():
        for shape in ((2, 3, 64, 64), (1, 3, 51, 70)):
            expected = network(images(*shape))
            assert expected.std() > 1e-3
            assert (plain(images(*shape)) - expected).abs().max() <= 2e-5 * expected.abs().max()
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_it_can_be_saved_and_loaded_as_any_network() -> None:
    network = trained("mobilenet_v4_hybrid_medium", reparam=2)
    plain = deployed(network)
    again = build_network(Spec.from_json(json.loads(json.dumps(plain.spec.to_json())))).eval()
    again.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images(1, 3, 64, 64)), plain(images(1, 3, 64, 64)))
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_no_random_number_is_drawn() -> None:
    network = trained("mobilenet_v2")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    deployed(network)
    assert torch.equal(torch.rand(4), expected)


def test_batch_norm_goes_back_into_the_deployed_network() -> None:
    plain = deployed(trained("mobilenet_v3_small", reparam=2))
    made = with_batch_norm(plain, [images(6, 3, 64, 64)])
    assert (made.spec.norm.kind, made.spec.reparam) == ("batch", 0)
    with torch.inference_mode():
        expected = plain(images(2, 3, 64, 64))
        assert (made(images(2, 3, 64, 64)) - expected).abs().max() <= 1e-4 * expected.abs().max()
