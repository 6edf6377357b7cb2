"""Each layer's share of the error is what the whole network gives with that layer alone, or all but it, rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from roundable import calibrated, pictures, shipped

from mobilenets.compress.sensitivity import sensitivities, sqnr_db
from mobilenets.compress.simulation import Simulation

IMAGES = pictures(12)
SHORT: list[tuple[str, dict[str, Any]]] = [
    ("mobilenet_v1_025", {"blocks": 3}),
    ("mobilenet_v2", {"blocks": 4, "width": 0.35}),  # residuals: a rounded map is taken again, layers later
    ("mobilenet_v3_small", {"blocks": 3, "width": 0.35}),
    ("mobilenet_v4_conv_small", {"blocks": 5, "width": 0.35}),
]


def assert_rows_are_direct(simulation: Simulation) -> None:
    exact = simulation.logits(IMAGES, [])
    answers = exact.argmax(1)
    labels = np.where(np.arange(len(IMAGES)) % 3 > 0, answers, (answers + 1) % 4)
    shown: list[int] = []
    rows = sensitivities(simulation, IMAGES, labels, shown.append)
    assert [row.layer for row in rows] == list(simulation.layers)
    assert shown == list(range(1, len(rows) + 1))
    ships = simulation.points.keys() - simulation.floats
    for row in rows:
        layer = simulation.layers[row.layer]
        only = simulation.logits(IMAGES, ships & set(layer.points))
        without = simulation.logits(IMAGES, ships - set(layer.points))
        assert row.macs == layer.macs
        assert row.sqnr_only_db == pytest.approx(sqnr_db(exact, only), abs=0.01)
        assert row.sqnr_without_db == pytest.approx(sqnr_db(exact, without), abs=0.01)
        assert row.top1_only == (only.argmax(1) == labels).mean()
        assert row.top1_without == (without.argmax(1) == labels).mean()
    assert len({round(row.sqnr_only_db, 3) for row in rows}) > len(rows) / 2  # they do differ
    assert len({round(row.sqnr_without_db, 3) for row in rows}) > len(rows) / 2


@pytest.mark.parametrize(("name", "settings"), SHORT, ids=[name for name, _ in SHORT])
def test_rows_are_what_the_whole_network_gives(name: str, settings: dict[str, Any]) -> None:
    assert_rows_are_direct(calibrated(shipped(name, **settings), IMAGES))


def test_layers_in_float_stay_so_while_the_others_are_measured() -> None:
    simulation = calibrated(shipped("mobilenet_v1_025", blocks=3), IMAGES)
    simulation.leave_in_float([list(simulation.layers)[2]])
    assert_rows_are_direct(simulation)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_rows_of_a_whole_network_are_direct_too(name: str) -> None:
    assert_rows_are_direct(calibrated(shipped(name, width=0.35), IMAGES))


def test_without_labels_there_is_no_accuracy() -> None:
    simulation = calibrated(shipped("mobilenet_v1_025", blocks=2), IMAGES)
    rows = sensitivities(simulation, IMAGES, None)
    assert {(row.top1_only, row.top1_without) for row in rows} == {(None, None)}


def test_measuring_changes_nothing() -> None:
    simulation = calibrated(shipped("mobilenet_v1_025", blocks=2), IMAGES)
    before = simulation.logits(IMAGES)
    sensitivities(simulation, IMAGES, None)
    assert {point.mode for point in simulation.points.values()} == {"pass"}
    assert np.array_equal(simulation.logits(IMAGES), before)


def test_signal_to_noise_is_ten_log_ten_of_the_energies_and_at_most_120() -> None:
    exact = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert sqnr_db(exact, exact) == 120
    assert sqnr_db(exact, exact + np.float32(1e-7)) == 120
    assert sqnr_db(exact, exact + np.array([[0.5, 0], [0, 0]], np.float32)) == pytest.approx(20)
    assert sqnr_db(exact, 0 * exact) == pytest.approx(0)
    assert sqnr_db(0 * exact, 0 * exact) == 120
