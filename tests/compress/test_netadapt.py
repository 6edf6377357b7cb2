"""NetAdapt and pruning at one go, under a budget of multiply-adds: what is proposed, what is taken, where it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec, with_blocks
from mobilenets.compress.channels import groups
from mobilenets.compress.netadapt import Settings, Step, netadapt
from mobilenets.compress.oneshot import prune_at_once, prune_uniformly
from mobilenets.errors import UserError
from mobilenets.nn.network import Network, build_network


class Macs:
    """Millions of multiply-adds; `predict` is wrong by `bias`, as a model of latency is."""

    def __init__(self, bias: float = 1.0) -> None:
        self.bias = bias

    def predict(self, spec: Spec) -> float:
        return self.measure(spec) * self.bias

    def measure(self, spec: Spec) -> float:
        return cost(spec).macs / 1e6


def network(name: str = "mobilenet_v2", blocks: int = 12) -> Network:
    """The first blocks of a narrow one."""
    torch.manual_seed(0)
    spec = create_spec(name, width=0.35, resolution=64, classes=4)
    return build_network(with_blocks(spec, spec.blocks[:blocks])).eval()


def untrained(each: Network) -> None:
    """No training between the steps."""


def wanting(spec: Spec) -> float:
    """A made-up loss: blocks 5 to 9 matter ten times as much as the rest."""
    return sum((10 if 5 <= index <= 9 else 1) / block.c_mid for index, block in enumerate(spec.blocks))


@pytest.mark.parametrize("bias", [1.0, 0.8, 1.25])
def test_ends_within_the_budget_whatever_the_model_errs_by(bias: float) -> None:
    steps: list[Step] = []
    budget, whole = Macs(bias), network()
    limit = 0.5 * budget.measure(whole.spec)
    found = netadapt(
        whole,
        budget,
        limit,
        untrained,
        lambda each: (wanting(each.spec), 0.5),
        on_step=lambda _, step: steps.append(step),
    )
    assert budget.measure(found.spec) <= limit
    assert budget.measure(found.spec) > 0.7 * limit  # not much further than asked
    assert [step.measured for step in steps] == sorted((step.measured for step in steps), reverse=True)
    assert steps[-1].measured == budget.measure(found.spec)
    assert all(step.predicted == pytest.approx(step.measured) for step in steps)  # the model's error was taken out
    with torch.no_grad():
        assert found.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 4)


def test_what_matters_is_spared() -> None:
    whole = network()
    found = netadapt(whole, Macs(), 0.6 * Macs().measure(whole.spec), untrained, lambda each: (wanting(each.spec), 0.5))
    left = {group.name: group.channels for group in groups(found.spec) if group.kind == "expansion"}
    before = {group.name: group.channels for group in groups(whole.spec) if group.kind == "expansion"}
    share = {name: left[name] / before[name] for name in left if name in before}
    dear = [share[f"blocks.{index}.expand"] for index in range(5, 10) if f"blocks.{index}.expand" in share]
    assert min(dear) > min(share.values())


def test_channel_counts_are_multiples() -> None:
    whole = network()
    settings = Settings(multiple=16)
    found = netadapt(
        whole, Macs(), 0.6 * Macs().measure(whole.spec), untrained, lambda each: (wanting(each.spec), 0.5), settings
    )
    before = {group.name: group.channels for group in groups(whole.spec)}
    for group in groups(found.spec):
        if group.kind != "block" and len(found.spec.blocks) == len(whole.spec.blocks):
            assert group.channels == before[group.name] or group.channels % 16 == 0


def test_the_cheapest_go_together_and_are_trained_once() -> None:
    trained: list[Spec] = []
    steps: list[Step] = []
    whole = network(blocks=17)
    netadapt(
        whole,
        Macs(),
        0.7 * Macs().measure(whole.spec),
        lambda each: trained.append(each.spec),
        lambda each: (wanting(each.spec), 0.5),
        on_step=lambda _, step: steps.append(step),
    )
    assert len(trained) == len(steps)
    assert max(len(step.cuts) for step in steps) > 1
    for step in steps:
        prices = {row[0]: row[2] for row in step.proposals}
        taken = [prices[name] for name, _ in step.cuts]
        assert sum(price < max(taken) for price in prices.values()) <= len(taken) + 2  # but for a block's own expansion


def test_what_was_dear_is_not_scored_again_and_again() -> None:
    steps: list[Step] = []
    whole = network()
    netadapt(
        whole,
        Macs(),
        0.6 * Macs().measure(whole.spec),
        untrained,
        lambda each: (wanting(each.spec), 0.5),
        Settings(scored=2, step=0.05),
        on_step=lambda _, step: steps.append(step),
    )
    assert len(steps[0].proposals) > 4  # at first all are looked at
    known = {row[0] for row in steps[0].proposals}
    for step in steps[1:]:
        names = {row[0] for row in step.proposals}
        assert len(names & known) <= 2
        known |= names


def test_it_goes_on_from_a_step_as_if_it_had_not_stopped() -> None:
    whole, kept = network(), []
    limit = 0.6 * Macs().measure(whole.spec)
    arguments = (untrained, lambda each: (wanting(each.spec), 0.5))
    straight = netadapt(whole, Macs(), limit, *arguments, on_step=lambda made, step: kept.append((made, step)))
    assert len(kept) > 3
    prices = {row[0]: row[2] for _, step in kept[:2] for row in step.proposals}
    resumed = netadapt(kept[1][0], Macs(), limit, *arguments, first=whole.spec, done=2, prices=prices)
    assert resumed.spec == straight.spec
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_budget_that_nothing_meets_is_one_line() -> None:
    whole = network(blocks=5)
    with pytest.raises(UserError, match=r"mobilenet_v2_035: .* is as low as pruning gets here; the limit is 0.001"):
        netadapt(whole, Macs(), 0.001, untrained, lambda each: (0.0, 0.5))
    with pytest.raises(UserError, match="is as low as pruning gets here"):
        prune_at_once(whole, Macs(), 0.001)
    with pytest.raises(UserError, match=r"no width multiplier meets 0.001; its narrowest takes"):
        prune_uniformly(whole, Macs(), 0.001)


def test_uniformly_every_group_keeps_the_same_share() -> None:
    whole = network("mobilenet_v3_large")
    limit = 0.5 * Macs().measure(whole.spec)
    found = prune_uniformly(whole, Macs(0.95), limit)
    assert 0.8 * limit < Macs().measure(found.spec) <= limit
    before = {group.name: group.channels for group in groups(whole.spec) if group.kind != "block"}
    shares = [group.channels / before[group.name] for group in groups(found.spec) if before.get(group.name, 0) > 64]
    assert max(shares) - min(shares) < 0.15


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"])
@pytest.mark.parametrize("criterion", ["l1", pytest.param("batch_norm", marks=pytest.mark.slow)])
def test_at_once(name: str, criterion: str) -> None:
    torch.manual_seed(0)
    settings = {} if name.startswith("mobilenet_v4") else {"width": 0.5}
    whole = build_network(create_spec(name, resolution=64, classes=4, **settings)).eval()  # type: ignore[arg-type]
    limit = 0.6 * Macs().measure(whole.spec)
    found = prune_at_once(whole, Macs(1.1), limit, replace(Settings(), criterion=criterion))
    assert 0.8 * limit < Macs().measure(found.spec) <= limit
    with torch.no_grad():
        assert found(torch.randn(1, 3, 64, 64)).isfinite().all()
