"""What repairs an int8 network, each measured layer by layer against the exact one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from roundable import calibrated, pictures, shipped
from torch import Tensor

from mobilenets.compress.bias import channel_mean, correct_bias_, restore_statistics_
from mobilenets.compress.equalise import Pair, equalise_, pairs
from mobilenets.compress.lockstep import Visit, walk
from mobilenets.compress.pairs import LIMIT
from mobilenets.compress.rounding import adapt_rounding_
from mobilenets.compress.sensitivity import sqnr_db
from mobilenets.compress.simulation import Simulation

IMAGES = pictures(24)
SHORT: dict[str, dict[str, Any]] = {  # ReLU6; residuals; squeeze-and-excite and hard-swish; ReLU; depth multiplier
    "mobilenet_v1_025": {"blocks": 5},
    "mobilenet_v2": {"blocks": 4, "width": 0.35},
    "mobilenet_v3_small": {"blocks": 4, "width": 0.35},
    "mobilenet_v4_conv_small": {"blocks": 4, "width": 0.5},
    "mobilenet_v1": {"blocks": 3, "width": 0.25, "channels_per_input": 2},
}
Repair = Callable[[Simulation, np.ndarray], Any]


def simulated(name: str, *, per_channel: bool = True) -> Simulation:
    return calibrated(shipped(name, **SHORT[name]), IMAGES, per_channel=per_channel)


def visits(simulation: Simulation, measure: Callable[[Visit], Any]) -> dict[str, Any]:
    """What `measure` finds at each layer; nothing is changed."""
    found: dict[str, Any] = {}
    walk(simulation, IMAGES, lambda at: found.update({at.layer.name: measure(at)}))
    assert list(found) == list(simulation.layers)
    return found


def moments_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel."""
    rows = values.transpose(0, 1).flatten(1).double()
    return rows.mean(1), rows.std(1, unbiased=False)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


# Exact and rounded in lockstep ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
def test_in_lockstep_both_networks_compute_what_they_compute_alone(name: str) -> None:
    simulation = simulated(name)
    exact, rounded = walk(simulation, IMAGES, lambda at: None)
    assert close(exact, torch.from_numpy(simulation.logits(IMAGES, [])), 1e-5)
    assert close(rounded, torch.from_numpy(simulation.logits(IMAGES)), 1e-5)


def test_the_exact_network_stays_what_it_was_whatever_is_changed_on_the_way() -> None:
    simulation = simulated("mobilenet_v2")
    expected = torch.from_numpy(simulation.logits(IMAGES, []))

    def spoil(at: Visit) -> None:
        simulation.weight(at.layer).mul_(0.5)
        simulation.bias(at.layer).add_(1)  # type: ignore[union-attr]

    exact, rounded = walk(simulation, IMAGES, spoil)
    assert close(exact, expected, 1e-5)
    assert not close(rounded, expected, 0.1)


def test_what_is_left_in_float_does_not_round_in_lockstep_either() -> None:
    simulation = simulated("mobilenet_v1_025")
    assert min(visits(simulation, lambda at: float((at.exact_output - at.compute()).abs().max())).values()) > 1e-3
    simulation.floats = frozenset(simulation.points)
    assert max(visits(simulation, lambda at: float((at.exact_output - at.compute()).abs().max())).values()) == 0


# Means and spreads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("per_channel", [True, False])
def test_bias_correction_leaves_no_mean_error_in_any_channel(name: str, per_channel: bool) -> None:
    simulation = simulated(name, per_channel=per_channel)

    def error(at: Visit) -> float:
        shift = channel_mean(at.exact_output - at.compute()).abs().max()
        return float(shift / at.exact_output.abs().max())

    before = visits(simulation, error)
    integers = {name: simulation.integers(layer) for name, layer in simulation.layers.items()}
    correct_bias_(simulation, IMAGES)
    after = visits(simulation, error)
    assert max(before.values()) > 1e-3
    assert max(after.values()) < 1e-5
    assert all(torch.equal(simulation.integers(simulation.layers[name]), integers[name]) for name in integers)


@pytest.mark.parametrize("name", SHORT)
def test_restored_channels_have_the_exact_mean_and_deviation(name: str) -> None:
    simulation = simulated(name)
    integers = {name: simulation.integers(layer) for name, layer in simulation.layers.items()}
    scales = {layer.name: simulation.points[layer.weight or ""].scale for layer in simulation.layers.values()}
    restore_statistics_(simulation, IMAGES)

    def errors(at: Visit) -> tuple[float, float]:
        (mean, deviation), (wanted, spread) = moments_of(at.compute()), moments_of(at.exact_output)
        gain = simulation.points[at.layer.weight or ""].scale / scales[at.layer.name]
        free = (gain > 0.501) & (gain < 1.999) & (spread > 1e-6)
        assert free.double().mean() > 0.9
        return float((mean - wanted).abs().max() / spread.max()), float(((deviation / spread)[free] - 1).abs().max())

    found = visits(simulation, errors)
    assert max(mean for mean, _ in found.values()) < 1e-4
    assert max(deviation for _, deviation in found.values()) < 1e-3
    assert all(torch.equal(simulation.integers(simulation.layers[name]), integers[name]) for name in integers)
    assert any(not torch.equal(simulation.points[f"{name}/weight"].scale, scales[name]) for name in scales)


def test_restoring_keeps_every_integer_of_a_large_network() -> None:
    simulation = calibrated(shipped("mobilenet_v4_conv_small"), IMAGES)  # 2.5 million: some lie on an edge
    integers = {name: simulation.integers(layer) for name, layer in simulation.layers.items()}
    restore_statistics_(simulation, IMAGES)
    assert all(torch.equal(simulation.integers(simulation.layers[name]), integers[name]) for name in integers)


def test_per_tensor_weights_have_their_means_restored_and_keep_their_scale() -> None:
    simulation = simulated("mobilenet_v2", per_channel=False)
    scales = {name: point.scale.clone() for name, point in simulation.points.items()}
    restore_statistics_(simulation, IMAGES)
    assert all(torch.equal(point.scale, scales[name]) for name, point in simulation.points.items())
    found = visits(simulation, lambda at: channel_mean(at.exact_output - at.compute()).abs().max())
    assert max(found.values()) < 1e-4


# Equalisation -----------------------------------------------------------------------------------------------------


def uneven(simulation: Simulation, pair: Pair, *, per_channel: bool) -> float:
    """How far the channels are from equal: of the feature map, or of one layer's weights against the other's."""
    if per_channel:
        outputs = visits(simulation, lambda at: at.exact_output.transpose(0, 1).flatten(1).amax(1).clamp_min(0))
        reach = outputs[pair.first.name]
        return float(reach[reach > 1e-3].log().std())
    first = simulation.weight(pair.first).flatten(1).abs().amax(1)
    second = simulation.weight(pair.second)
    depthwise = second.ndim == 4 and second.shape[1] == 1
    taking = second.reshape(len(first), -1) if depthwise else second.transpose(0, 1).flatten(1)
    return float((first / taking.abs().amax(1)).log().abs().mean())


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("per_channel", [True, False])
def test_equalising_makes_channels_more_equal_and_changes_no_exact_logit(name: str, per_channel: bool) -> None:
    simulation = simulated(name, per_channel=per_channel)
    found = list(pairs(simulation))
    logits = simulation.logits(IMAGES, [])
    before = [uneven(simulation, pair, per_channel=per_channel) for pair in found]
    assert equalise_(simulation, IMAGES) == len(found) > 0
    after = [uneven(simulation, pair, per_channel=per_channel) for pair in found]
    largest = np.abs(logits).max()
    assert np.abs(simulation.logits(IMAGES, []) - logits).max() <= 1e-4 * largest
    exact, _ = walk(simulation, IMAGES, lambda at: None)  # `exact` is equalised too
    assert np.abs(exact.numpy() - logits).max() <= 1e-4 * largest
    assert np.mean(after) < 0.8 * np.mean(before)
    for layer in simulation.layers.values():  # scales follow the new weights, to what overflows on no CPU
        assert simulation.integers(layer).int().abs().max() >= LIMIT // 2


@pytest.mark.parametrize("per_channel", [True, False])
def test_equalising_passes_no_clamp(per_channel: bool) -> None:
    simulation = simulated("mobilenet_v1_025", per_channel=per_channel)
    clamped = {pair.first.name for pair in pairs(simulation) if pair.clamp == 6}
    assert len(clamped) >= 8
    reach = visits(simulation, lambda at: at.exact_output.transpose(0, 1).flatten(1).amax(1))
    equalise_(simulation, IMAGES)
    after = visits(simulation, lambda at: at.exact_output.transpose(0, 1).flatten(1).amax(1))
    near = torch.cat([reach[name] * 1.25 >= 6 for name in clamped])
    assert 0 < near.sum() < len(near)
    for name in clamped:
        was, now = reach[name], after[name]
        free = was * 1.25 < 6
        assert (now[free] * 1.25 <= 6 * 1.0001).all()
        assert torch.allclose(now[~free], was[~free], rtol=1e-4)  # a channel that is cut keeps what is cut


def test_pairs_have_at_most_a_relu_between_them() -> None:
    found = {(pair.first.name, pair.second.name): pair.clamp for pair in pairs(simulated("mobilenet_v2"))}
    assert found[("blocks.2.expand", "blocks.2.depthwise")] == 6
    assert found[("blocks.2.depthwise", "blocks.2.project")] == 6
    assert found[("blocks.1.pointwise", "blocks.2.expand")] == np.inf
    assert not [first for first, _ in found if first == "blocks.2.project"]  # a residual connection takes it too
    hard = {pair.first.name for pair in pairs(simulated("mobilenet_v3_small"))}
    assert "blocks.0.conv" not in hard  # hard-swish bends
    assert "blocks.1.depthwise" not in hard  # squeeze-and-excite takes it too


# Adapted rounding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "per_channel"), [*((name, True) for name in SHORT), ("mobilenet_v2", False)], ids=lambda value: str(value)
)
def test_adapted_weights_lie_on_the_grid_next_to_where_they_were_and_no_layer_gets_worse(
    name: str, per_channel: bool
) -> None:
    simulation = simulated(name, per_channel=per_channel)
    plain = sqnr_db(simulation.logits(IMAGES, []), simulation.logits(IMAGES))
    exact = simulation.logits(IMAGES, [])
    scales = {layer.name: simulation.points[layer.weight or ""].scale.clone() for layer in simulation.layers.values()}
    adapt_rounding_(simulation, IMAGES)
    moved = 0
    for layer in simulation.layers.values():
        weight, was = simulation.weight(layer), simulation.exact[layer.weight_name]
        scale = scales[layer.name].view(-1, *[1] * (weight.ndim - 1))
        steps = weight / scale
        assert torch.equal(simulation.points[layer.weight or ""].scale, scales[layer.name])
        assert (steps - steps.round()).abs().max() < 1e-4
        assert steps.abs().max() < 127.001
        assert ((weight - was).abs() < 1.0001 * scale).all()
        assert torch.equal(simulation.integers(layer), steps.round().to(torch.int8))
        moved += int((steps.round() != (was / scale).round()).sum())
    assert moved > 0

    def errors(at: Visit) -> tuple[float, float]:
        """The error of the layer's output for the input that it gets, as it is and rounded to nearest, means apart."""
        found = at.exact_output - at.compute()
        weight = simulation.weight(at.layer)
        kept = weight.clone()
        weight.copy_(simulation.exact[at.layer.weight_name])
        nearest = at.exact_output - at.compute()
        weight.copy_(kept)
        assert channel_mean(found).abs().max() <= 1e-5 * at.exact_output.abs().max()  # biases are corrected
        return float(found.double().square().mean()), float((moments_of(nearest)[1] ** 2).mean())

    both = visits(simulation, errors)
    assert all(adapted <= 1.001 * nearest for adapted, nearest in both.values())
    assert sum(adapted for adapted, _ in both.values()) < 0.99 * sum(nearest for _, nearest in both.values())
    assert sqnr_db(exact, simulation.logits(IMAGES)) > plain + 1


@pytest.mark.parametrize("repair", [correct_bias_, restore_statistics_, equalise_, adapt_rounding_])
def test_the_same_images_give_the_same_repair(repair: Repair) -> None:
    module = shipped("mobilenet_v1_025", blocks=2)
    one, two = (calibrated(module, IMAGES) for _ in range(2))
    before = {name: tensor.clone() for name, tensor in one.graph.state_dict().items()}
    for each in (one, two):
        repair(each, IMAGES)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in one.graph.state_dict().items())
    for name, tensor in one.graph.state_dict().items():
        assert torch.equal(tensor, two.graph.state_dict()[name])
    assert np.array_equal(one.logits(IMAGES), two.logits(IMAGES))


@pytest.mark.parametrize("repair", [correct_bias_, restore_statistics_, adapt_rounding_])
def test_a_layer_in_float_keeps_its_weights(repair: Repair) -> None:
    simulation = simulated("mobilenet_v1_025")
    left, follower = list(simulation.layers)[2:4]
    simulation.leave_in_float([left])
    repair(simulation, IMAGES)
    for name in (left, follower):
        layer = simulation.layers[name]
        assert torch.equal(simulation.weight(layer), simulation.exact[layer.weight_name])
