"""Averaged weights: every rule's decay in closed form, and the average itself."""

from __future__ import annotations

import pytest
import torch

from mobilenets.training.average import Average, decay_of, make_average
from mobilenets.training.recipe import Averaging


@pytest.mark.parametrize(
    ("averaging", "expected"),
    [
        (Averaging(), [2 / 11, 3 / 12, 4 / 13]),  # a window of 50 steps is not yet reached
        (Averaging(epochs=0.04), [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 9 / 18, 0.5, 0.5]),
        (Averaging(rule="constant", decay=0.99), [0.99, 0.99]),
        (Averaging(rule="ramp", decay=0.24), [2 / 11, 0.24]),
        (Averaging(rule="power", decay=0.9), [1 - 2 ** (-2 / 3), 1 - 3 ** (-2 / 3), 1 - 4 ** (-2 / 3)]),
        (Averaging(rule="power", decay=0.5), [1 - 2 ** (-2 / 3), 0.5]),
        (Averaging(rule="constant", decay=0.9, start=2), [0.0, 0.0, 0.9]),
    ],
)
def test_the_decay_of_each_step(averaging: Averaging, expected: list[float]) -> None:
    decay = decay_of(averaging, steps=50)
    assert [decay(step) for step in range(1, len(expected) + 1)] == pytest.approx(expected)


def test_the_average_of_a_network_that_moves() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.BatchNorm1d(1))
    average = make_average(network, Averaging(rule="constant", decay=0.75), steps=1)
    assert average is not None
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.add_(4.0)
    average.update(network)
    assert torch.allclose(average.values["0.weight"], start + 1.0)
    assert "1.running_var" in average.values
    assert "1.num_batches_tracked" not in average.values
    assert make_average(network, Averaging(rule="none"), steps=1) is None


def test_up_to_its_start_it_is_the_network() -> None:
    network = torch.nn.Linear(2, 1)
    average = Average(network, decay_of(Averaging(rule="constant", decay=0.9, start=1), 1))
    with torch.no_grad():
        network.weight.fill_(3.0)
    average.update(network)
    assert torch.equal(average.values["weight"], network.weight)
