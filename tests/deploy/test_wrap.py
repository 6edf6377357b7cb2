"""The module that ships computes what the network computes, for every architecture and padding."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lively import FAMILIES, assert_close, lively, pictures, shortened
from torch import nn

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Padding, with_blocks
from mobilenets.deploy.load import TorchSession
from mobilenets.deploy.wrap import Shipped, fold_
from mobilenets.errors import UserError
from mobilenets.nn.deployed import deployed
from mobilenets.nn.network import build_network
from mobilenets.nn.reparam import BranchedConvNormAct


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folding_changes_nothing(name: str, padding: Padding) -> None:
    network = lively(shortened(create_spec(name, width=0.5, resolution=64, classes=7, padding=padding)))
    images = pictures(2, 64)
    with torch.inference_mode():
        found = Shipped(network)(torch.from_numpy(images)).numpy()
    assert_close(found, TorchSession(network).run(images))


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("name", FAMILIES)
def test_branches_fold_exactly(name: str, padding: Padding) -> None:
    """In float64 to the last digits; in float32 to 1e-5, or what the network's own rounding is where that is more."""
    network = lively(shortened(create_spec(name, width=0.5, resolution=64, classes=7, padding=padding, reparam=2)))
    assert any(isinstance(module, BranchedConvNormAct) for module in network.modules())
    images = torch.from_numpy(pictures(2, 64))
    pre, precise = network.spec.preprocessing, copy.deepcopy(network).double()
    mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in (pre.mean, pre.std))
    x = (images.permute(0, 3, 1, 2) - mean) / std
    with torch.inference_mode():
        exact = precise(x)
        assert (fold_(precise)(x) - exact).abs().max() <= 1e-11 * exact.abs().max()
        shipped, own = Shipped(network)(images), network(x.float())
    rounding = float((own - exact).abs().max() / exact.abs().max())
    assert (shipped - exact).abs().max() <= max(1e-5, 2 * rounding) * exact.abs().max()
    assert_close(shipped.numpy(), own.numpy())


def test_the_same_file_is_made_of_the_deployed_network() -> None:
    """To the last bit: int8 tables made of the one fit the other."""
    network = lively(create_spec("mobilenet_v4_conv_small", width=0.5, resolution=64, classes=7, reparam=2))
    branched, plain = Shipped(network).state_dict(), Shipped(deployed(network)).state_dict()
    assert branched.keys() == plain.keys()
    assert all(torch.equal(tensor, plain[key]) for key, tensor in branched.items())


def test_the_network_itself_stays_as_it_was() -> None:
    network = lively(create_spec("mobilenet_v2", width=0.25, resolution=32, classes=3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Shipped(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_attention_keeps_a_batch_norm() -> None:
    shipped = Shipped(lively(create_spec("mobilenet_v3_small", resolution=32)))
    assert not [module for module in shipped.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_first_block_that_is_no_convolution_keeps_the_scale_outside() -> None:
    spec = create_spec("mobilenet_v2", width=0.25, resolution=32, classes=3)
    separable = spec.blocks[1]
    first = type(separable)(kind="separable", c_in=3, c_mid=3, c_out=separable.c_out, k_mid=3, act="relu6")
    spec = with_blocks(spec, (first, *spec.blocks[2:]))
    network = lively(spec)
    images = pictures(2, 32)
    with torch.inference_mode():
        found = Shipped(network)(torch.from_numpy(images)).numpy()
    assert_close(found, TorchSession(network).run(images))


@pytest.mark.parametrize(
    ("settings", "words"), [({"in_channels": 1}, "1 input channels"), ({"classes": 0}, "no class")]
)
def test_what_no_bundle_can_hold_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Shipped(build_network(create_spec("mobilenet_v1_025", **settings)))
