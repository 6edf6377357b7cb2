"""The network as int8 runs it: exact where nothing rounds, what ships where everything does, layer by layer between."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from roundable import FAMILIES, calibrated, pictures, shipped

from mobilenets.arch.cost import cost
from mobilenets.compress.pairs import LIMIT
from mobilenets.compress.points import PASS, ROUND, Point
from mobilenets.compress.sensitivity import sqnr_db
from mobilenets.compress.simulation import Simulation
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError

IMAGES = pictures(24)
Pair = tuple[Shipped, Simulation]


@pytest.fixture(scope="module", params=FAMILIES, ids=[name for name, _ in FAMILIES])
def whole(request: pytest.FixtureRequest) -> Pair:
    """A module that ships and its simulation, which no test changes."""
    name, settings = request.param
    module = shipped(name, **settings)
    return module, calibrated(module, IMAGES)


def small(blocks: int = 3, **settings: Any) -> Shipped:
    return shipped("mobilenet_v3_small", blocks=blocks, width=0.35, **settings)


def run(module: torch.nn.Module, images: np.ndarray = IMAGES) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = module(torch.from_numpy(images)).numpy()
    return logits


def test_with_nothing_rounding_it_computes_what_ships_in_float(whole: Pair) -> None:
    module, simulation = whole
    expected = run(module)
    assert np.abs(expected).max() > 0.1
    assert np.abs(simulation.logits(IMAGES, []) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_with_everything_rounding_it_computes_what_ships_in_int8(whole: Pair) -> None:
    """Equal but for activations on the edge between two integers, where torchao's two operators may part: the
    difference is 15 dB below what rounding did, and half of the images agree to 1e-4 of the largest logit."""
    _, simulation = whole
    exact, found, expected = simulation.logits(IMAGES, []), simulation.logits(IMAGES), run(simulation.converted())
    assert sqnr_db(exact, found) < 60  # rounding is seen
    assert sqnr_db(expected, found) > sqnr_db(exact, found) + 15
    apart = np.abs(found - expected).max(1)
    assert np.median(apart) <= 1e-4 * np.abs(expected).max()


def test_integers_per_channel_reach_what_overflows_nowhere_and_never_pass_127(whole: Pair) -> None:
    _, simulation = whole
    for layer in simulation.layers.values():
        shape = simulation.weight(layer).shape
        integers, weight = simulation.integers(layer).flatten(1), simulation.weight(layer).flatten(1)
        assert integers.dtype == torch.int8
        assert integers.min() >= -127  # so that abs is safe
        nonzero = weight.abs().amax(1) > 127 * 2**-20
        assert nonzero.any()
        reached = integers.abs().amax(1)[nonzero]
        if shape[1] == 1:  # depthwise: no neighbours
            assert (reached == 127).all()
        elif shape[2:].numel() > 1:
            assert (reached == LIMIT // 2).all()
        else:
            assert (reached >= LIMIT // 2).all()
        point = simulation.points[layer.weight or ""]
        assert point.scale.shape == (len(weight),)
        assert (integers * point.scale.unsqueeze(1) - weight).abs().max() <= 0.5001 * point.scale.max()


def test_what_is_converted_holds_these_very_integers(whole: Pair) -> None:
    _, simulation = whole
    held = [v for v in simulation.converted().state_dict().values() if v.dtype == torch.int8 and v.ndim > 1]
    named = [simulation.integers(layer) for layer in simulation.layers.values()]
    assert len(held) == len(named)
    assert all(torch.equal(one, two) for one, two in zip(held, named))


def test_layers_and_their_macs_are_those_that_cost_counts(whole: Pair) -> None:
    module, simulation = whole
    expected = {op.name: op.macs for op in cost(module.spec).ops if op.macs}
    assert {name: layer.macs for name, layer in simulation.layers.items()} == expected
    assert next(iter(simulation.layers)) == "blocks.0.conv"
    assert list(simulation.layers)[-1] == "head.classifier"


def test_each_layer_owns_its_weight_and_the_activations_up_to_the_next(whole: Pair) -> None:
    _, simulation = whole
    owned = [point for layer in simulation.layers.values() for point in layer.points]
    assert len(owned) == len(set(owned))
    assert simulation.points.keys() - set(owned) == {"image/sub"}  # the pixels themselves
    for layer in simulation.layers.values():
        assert layer.weight == f"{layer.name}/weight"
        assert len(layer.points) >= 2
        assert {point.rpartition("/")[0] for point in layer.points} == {layer.name}


def test_per_tensor_weights_have_one_scale() -> None:
    simulation = calibrated(small(), IMAGES, per_channel=False)
    for layer in simulation.layers.values():
        integers = simulation.integers(layer).int()
        assert simulation.points[layer.weight or ""].scale.shape == (1,)
        assert integers.abs().max() == 127
    expected = run(simulation.converted())
    assert np.abs(simulation.logits(IMAGES) - expected).max() <= 0.05 * np.abs(expected).max()


def test_one_point_alone_rounds_to_its_own_grid() -> None:
    simulation = calibrated(small(), IMAGES)
    last = "head.classifier/linear"
    steps = simulation.logits(IMAGES, [last]) / float(simulation.points[last].scale)
    assert np.abs(steps - steps.round()).max() < 1e-3
    exact = simulation.logits(IMAGES, [])
    assert np.abs(simulation.logits(IMAGES, [last]) - exact).max() <= 0.51 * float(simulation.points[last].scale)
    free = exact / float(simulation.points[last].scale)
    assert np.abs(free - free.round()).max() > 0.1


def test_after_rounding_each_point_does_what_it_did() -> None:
    simulation = calibrated(small(2), IMAGES)
    with suppress(RuntimeError), simulation.rounding():
        assert {point.mode for point in simulation.points.values()} == {ROUND}
        raise RuntimeError("an interruption")
    assert {point.mode for point in simulation.points.values()} == {PASS}


def test_a_gate_has_its_fixed_scale_whatever_was_seen() -> None:
    simulation = calibrated(small(), np.zeros_like(IMAGES))
    gates = [point for name, point in simulation.points.items() if name.endswith("/hardsigmoid")]
    assert gates
    assert all(float(p.scale) == np.float32(1 / 255) and int(p.zero_point) == -128 for p in gates)


# Layers in float --------------------------------------------------------------------------------------------------


def test_an_unknown_layer_is_one_line_with_a_suggestion() -> None:
    simulation = Simulation(small(2), IMAGES)
    words = r"no layer 'blocks.0.conf' in mobilenet_v3_small_035; did you mean blocks.0.conv\?$"
    with pytest.raises(UserError, match=words):
        simulation.leave_in_float(["blocks.0.conv", "blocks.0.conf"])
    assert simulation.floats == frozenset()


def test_int8_macs_are_those_of_the_layers_that_neither_are_nor_follow_a_float_one(
    whole: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, simulation = whole
    monkeypatch.setattr(simulation, "floats", frozenset())  # and back again
    assert simulation.int8_macs == 1
    names, macs = list(simulation.layers), {op.name: op.macs for op in cost(module.spec).ops}
    simulation.leave_in_float([names[0]])
    assert simulation.int8_macs == pytest.approx(1 - (macs[names[0]] + macs[names[1]]) / cost(module.spec).macs)
    one = simulation.int8_macs
    simulation.leave_in_float(names[:4])
    assert simulation.int8_macs < one
    simulation.leave_in_float([names[-1]])  # in place of those before, and none follows
    assert simulation.int8_macs == pytest.approx(1 - macs["head.classifier"] / cost(module.spec).macs)
    simulation.leave_in_float(names)
    assert simulation.int8_macs == 0


def test_a_layer_left_in_float_and_the_next_keep_their_float_weights_in_what_ships() -> None:
    simulation = calibrated(small(), IMAGES)
    names = list(simulation.layers)
    left, follower = simulation.layers[names[3]], simulation.layers[names[4]]
    whole = simulation.converted().state_dict()
    simulation.leave_in_float([left.name])
    converted = simulation.converted()
    state = converted.state_dict()
    for layer in simulation.layers.values():
        key = f"network.{layer.weight_name}"
        assert (key in state) == (layer in (left, follower))
        assert key not in whole
        assert simulation.rounds(layer) == (layer not in (left, follower))
    assert torch.equal(state[f"network.{left.weight_name}"], simulation.exact[left.weight_name])
    assert torch.equal(state[f"network.{follower.weight_name}"], simulation.exact[follower.weight_name])
    assert converted.int8_macs == simulation.int8_macs < 1
    expected = run(converted)
    assert np.abs(simulation.logits(IMAGES) - expected).max() <= 0.05 * np.abs(expected).max()


def test_all_layers_in_float_are_the_float_network_but_for_the_pixels() -> None:
    module = small(2)
    simulation = calibrated(module, IMAGES)
    simulation.leave_in_float(list(simulation.layers))
    expected = run(module)
    assert np.array_equal(simulation.logits(IMAGES), simulation.logits(IMAGES, ["image/sub"]))
    assert sqnr_db(expected, run(simulation.converted())) > sqnr_db(
        expected, run(calibrated(module, IMAGES).converted())
    )


# Watching ---------------------------------------------------------------------------------------------------------


def test_images_that_are_all_alike_are_soon_enough() -> None:
    simulation = Simulation(small(2), IMAGES)
    alike = np.repeat(IMAGES[:1], 300, axis=0)
    assert simulation.watch(alike, converge=True) == 128
    assert simulation.watch(alike) == 300
    assert simulation.watch(alike[:50], converge=True) == 50


def test_images_that_go_on_to_differ_are_all_shown() -> None:
    simulation = Simulation(small(2), IMAGES)
    contrast = np.linspace(0.02, 1, 160).reshape(-1, 1, 1, 1)
    growing = (128 + contrast * (pictures(160, seed=1).astype(float) - 128)).astype(np.uint8)
    assert simulation.watch(growing, converge=True) == 160


@pytest.mark.parametrize("method", ["min-max", "moving-average", "percentile", "mse", "entropy"])
def test_the_same_images_give_the_same_scales(method: str) -> None:
    module = small(2)
    one, two = Simulation(module, IMAGES), Simulation(module, IMAGES)
    for each in (one, two):
        each.watch(IMAGES, method)
    two.watch(pictures(8, seed=5))
    two.watch(IMAGES, method)  # what was watched before is forgotten
    assert one.points.keys() == two.points.keys()
    for name, point in one.points.items():
        assert torch.equal(point.scale, two.points[name].scale)
        assert torch.equal(point.zero_point, two.points[name].zero_point)


def test_an_unknown_calibration_is_refused() -> None:
    with pytest.raises(UserError, match="unknown calibration 'best'; allowed: min-max"):
        Simulation(small(1), IMAGES).watch(IMAGES, "best")


def test_a_point_rounds_to_nothing_but_its_256_steps() -> None:
    point = Point(torch.int8, -128, 127, torch.per_tensor_affine)
    point.cover(-1.0, 3.0)
    found = point.rounded(torch.linspace(-5, 5, 10_001)).unique()
    assert len(found) == 256
    assert found[0] == pytest.approx(-1, abs=0.01)
    assert found[-1] == pytest.approx(3, abs=0.01)
