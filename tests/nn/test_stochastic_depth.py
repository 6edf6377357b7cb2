"""Stochastic depth: how often, what stays on average, and where it does not reach."""

from __future__ import annotations

import pytest
import torch

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.nn.stochastic_depth import drop_branch, set_stochastic_depth_


def test_images_are_dropped_whole_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    kept = drop_branch(torch.ones(4000, 2, 3, 3), 0.25)
    values = kept.flatten(1)
    assert (values == values[:, :1]).all()
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rates_rise_evenly_over_the_residual_blocks(name: str) -> None:
    network = build_network(create_spec(name, width=0.25, classes=2) if "v4" not in name else create_spec(name))
    before = network.state_dict().keys()
    set_stochastic_depth_(network, 0.3)
    rates = [block.drop_rate for block in network.blocks if block.residual]
    assert rates == pytest.approx([0.3 * i / len(rates) for i in range(1, len(rates) + 1)])
    assert all(block.drop_rate == 0 for block in network.blocks if not block.residual)
    assert network.state_dict().keys() == before


def test_in_evaluation_it_is_not_there() -> None:
    torch.manual_seed(0)
    network = build_network(create_spec("mobilenet_v2_035", classes=3)).eval()
    images = torch.randn(4, 3, 64, 64)
    plain = network(images)
    exported = torch.export.export(network, (images,)).graph_module.code
    set_stochastic_depth_(network, 0.9)
    assert torch.equal(network(images), plain)
    assert torch.export.export(network, (images,)).graph_module.code == exported
    network.train()
    assert not torch.allclose(network(images), network(images))


def test_at_rate_0_a_network_trains_as_before() -> None:
    outputs = []
    for rate in (None, 0.0):
        torch.manual_seed(0)
        network = build_network(create_spec("mobilenet_v2_035", classes=3))
        if rate is not None:
            set_stochastic_depth_(network, rate)
        torch.manual_seed(1)
        outputs.append(network(torch.randn(4, 3, 64, 64)))
    assert torch.equal(*outputs)
    with pytest.raises(UserError, match="stochastic depth 1 is out of range"):
        set_stochastic_depth_(network, 1.0)
