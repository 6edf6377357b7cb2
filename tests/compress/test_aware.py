"""Quantisation-aware training: it begins at the network that there is, what is trained is what ships, and it helps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from roundable import FAMILIES, calibrated, pictures, shipped
from torch import Tensor

from mobilenets.compress.aware import AwareNetwork
from mobilenets.compress.aware_training import Awareness, train_aware_
from mobilenets.compress.pairs import excess
from mobilenets.compress.rounding import adapt_rounding_
from mobilenets.compress.sensitivity import divergence
from mobilenets.compress.simulation import Simulation
from mobilenets.compress.table import simulation_of, table_of
from mobilenets.data.loader import Batch

CALIBRATION, OTHERS = pictures(32), pictures(64, seed=5)


class Feeder:
    """Two batches an epoch, always the same pictures."""

    steps = 2

    def epoch(self, number: int) -> Any:
        for half in range(2):
            images = torch.from_numpy(pictures(16, seed=10 + half))
            yield Batch(images, torch.zeros(16, dtype=torch.long), torch.arange(16), number)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether nearly all images have the same logits; of a few a tie may fall the other way somewhere inside."""
    return float((np.abs(one - other).max(1) <= 1e-4 * np.abs(one).max()).mean()) > 0.9


def moved_(network: AwareNetwork, seed: int = 0) -> None:
    """Every parameter a little elsewhere, as after some steps."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter) * (2.0 if name.endswith(".steps") else 0.05)
    network.settle_()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("name", "settings"), FAMILIES)
def test_before_training_it_computes_what_the_quantised_network_does(
    name: str, settings: dict[str, Any], per_channel: bool
) -> None:
    simulation = calibrated(shipped(name, **settings), CALIBRATION, per_channel=per_channel)
    wanted = simulation.logits(OTHERS)
    network = AwareNetwork(simulation, CALIBRATION)
    with torch.no_grad():
        found = network(torch.from_numpy(OTHERS)).numpy()
    assert same(wanted, found)
    network.write_back_()
    assert same(wanted, simulation.logits(OTHERS))


@pytest.mark.parametrize(("name", "settings"), FAMILIES)
def test_what_is_trained_is_what_ships(name: str, settings: dict[str, Any]) -> None:
    """Integers and factors that training moved are those of the simulation, of its table and of its conversion."""
    module = shipped(name, **settings)
    simulation = calibrated(module, CALIBRATION)
    network = AwareNetwork(simulation, CALIBRATION)
    moved_(network)
    with torch.no_grad():
        trained = network(torch.from_numpy(OTHERS)).numpy()
    network.write_back_()
    shipped_logits = simulation.logits(OTHERS)
    assert same(trained, shipped_logits)
    for layer in simulation.layers.values():
        if simulation.rounds(layer):
            key = layer.name.replace(".", "-")
            steps: Tensor = network.layers[key].steps  # type: ignore[assignment]
            integers = simulation.integers(layer)
            assert torch.equal(integers, steps.clamp(-127, 127).round().to(torch.int8))
            assert (excess(integers.float()) <= 128 / 126).all()  # no CPU overflows after training either
    again = simulation_of(table_of(simulation), module)
    assert np.array_equal(again.logits(OTHERS), shipped_logits)


def test_live_statistics_follow_the_batches_and_end_in_the_scales() -> None:
    simulation = calibrated(shipped("mobilenet_v2", width=0.35), CALIBRATION)
    network = AwareNetwork(simulation, CALIBRATION)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.live = True
    brighter = torch.from_numpy(np.clip(OTHERS.astype(np.int64) + 60, 0, 255).astype(np.uint8))
    for _ in range(3):
        network(brighter)
    moved = [name for name, value in network.named_buffers() if not torch.equal(value, before[name])]
    names = {name.rpartition(".")[0] for name in moved}
    assert len(moved) == 2 * len(names)
    assert "layers.blocks-0-conv" in names
    assert "layers.head-classifier" not in names  # linear
    assert "layers.blocks-17-expand" not in names  # its map has one pixel
    network.live = False
    with torch.no_grad():
        frozen = network(torch.from_numpy(OTHERS)).numpy()
    network.write_back_()
    assert same(frozen, simulation.logits(OTHERS))


def test_layers_left_in_float_stay_float() -> None:
    simulation = calibrated(shipped("mobilenet_v2", width=0.35), CALIBRATION)
    simulation.leave_in_float(["blocks.0.conv", "blocks.3.expand"])
    network = AwareNetwork(simulation, CALIBRATION)
    moved_(network)
    network.write_back_()
    weight = simulation.weight(simulation.layers["blocks.3.expand"])
    steps: Tensor = network.layers["blocks-3-expand"].steps  # type: ignore[assignment]
    assert not torch.equal(steps, steps.round())
    assert len(weight.unique()) > 0.9 * weight.numel()
    with torch.no_grad():
        found = network(torch.from_numpy(OTHERS)).numpy()
    assert same(found, simulation.logits(OTHERS))


def test_gates_keep_the_scale_that_runtimes_know() -> None:
    simulation = calibrated(shipped("mobilenet_v3_small", width=0.35), CALIBRATION)
    network = AwareNetwork(simulation, CALIBRATION)
    gates = [name for name, point in simulation.points.items() if point.fixed is not None]
    assert gates
    before = {name: simulation.points[name].scale.clone() for name in gates}
    moved_(network)
    network.write_back_()
    assert all(torch.equal(simulation.points[name].scale, before[name]) for name in gates)


@pytest.mark.parametrize("frozen_after", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_training_brings_the_answers_nearer_to_the_float_networks(frozen_after: float) -> None:
    """On the very pictures that it learns, whose noise says nothing of others."""
    module = shipped("mobilenet_v3_small", width=0.35)
    seen = np.concatenate([pictures(16, seed=10), pictures(16, seed=11)])
    simulation = calibrated(module, CALIBRATION)
    exact = simulation.logits(seen, [])
    before = divergence(exact, simulation.logits(seen))

    def likeness(at: Simulation) -> float:
        return -divergence(exact, at.logits(seen))

    course = train_aware_(
        simulation,
        module,
        Feeder(),  # type: ignore[arg-type]
        CALIBRATION,
        likeness,
        Awareness(epochs=20, frozen_after=frozen_after, checks=4),
    )
    after = divergence(exact, simulation.logits(seen))
    assert course.steps == 40
    assert course.scores[0] == pytest.approx(-before)
    assert after == pytest.approx(-max(course.scores))
    assert after < 0.6 * before
    assert course.helped


def test_a_training_that_harms_leaves_what_there_was() -> None:
    module = shipped("mobilenet_v1_025", blocks=3)
    simulation = calibrated(module, CALIBRATION)
    adapt_rounding_(simulation, CALIBRATION)
    table = table_of(simulation)
    calls = itertools.count()
    course = train_aware_(
        simulation,
        module,
        Feeder(),  # type: ignore[arg-type]
        CALIBRATION,
        lambda at: float(-next(calls)),  # each network is said to be worse than the one before
        Awareness(epochs=2, lr=5.0),
    )
    assert not course.helped
    after = table_of(simulation)
    assert all(torch.equal(value, after.tensors[name]) for name, value in table.tensors.items())


def test_it_ends_when_the_time_is_over() -> None:
    module = shipped("mobilenet_v1_025", blocks=3)
    simulation = calibrated(module, CALIBRATION)
    course = train_aware_(simulation, module, Feeder(), CALIBRATION, lambda at: 0.0, Awareness(), until=0.0)  # type: ignore[arg-type]
    assert course.steps == 0
