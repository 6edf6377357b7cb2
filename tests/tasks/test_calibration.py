"""Temperature, calibration error and thresholds against plain loops and against what is known of the data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mobilenets.tasks.calibration import (
    STEPS,
    answered,
    calibration_error,
    calibration_report,
    chosen_threshold,
    confidences,
    fit_decision,
    fit_temperature,
    reliability,
    threshold_keeping,
)
from mobilenets.tasks.classify import softmax


def labelled(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true scores are softmax(logits / temperature): labels are drawn by exactly those."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, 5))
    drawn = softmax(logits / temperature).cumsum(axis=1) > rng.random((count, 1))
    return logits.astype(np.float32), drawn.argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_the_labels_were_drawn_by_is_found(temperature: float) -> None:
    assert fit_temperature(*labelled(20_000, temperature)) == pytest.approx(temperature, rel=0.05)


def test_it_lowers_loss_and_error_on_images_it_has_not_seen() -> None:
    found = fit_decision(*labelled(1000, 2.5))
    logits, labels = labelled(5000, 2.5, seed=1)
    report = calibration_report(logits, labels, found["temperature"], None)
    assert report["calibration_error_before"] > 0.15
    assert report["calibration_error"] < 0.03
    own = np.arange(len(labels)), labels
    before, after = (-np.log(softmax(logits / t)[own]).mean() for t in (1.0, found["temperature"]))
    assert after < before - 0.2
    assert found["loss"]["after"] < found["loss"]["before"]
    assert found["calibration_error"]["after"] < found["calibration_error"]["before"]
    json.dumps([found, report], allow_nan=False)


def test_a_few_images_that_are_all_right_do_not_make_scores_certain() -> None:
    logits = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]])
    few = fit_temperature(logits, np.arange(3))
    assert 0.3 < few < 1
    assert fit_temperature(np.repeat(logits, 100, axis=0), np.repeat(np.arange(3), 100)) < few


def test_the_error_is_that_of_a_plain_loop() -> None:
    confidence, hits = confidences(*labelled(700, 2.0), None)
    total = 0.0
    for index in range(15):
        own = [i for i, c in enumerate(confidence) if index / 15 <= c < (index + 1) / 15 or (index == 14 and c == 1)]
        if own:
            total += len(own) * abs(float(np.mean(hits[own])) - float(np.mean(confidence[own])))
    assert calibration_error(reliability(confidence, hits)) == pytest.approx(total / 700)
    assert sum(row["images"] for row in reliability(np.ones(3), np.ones(3, bool))) == 3


@pytest.mark.parametrize("keep", [1.0, 0.95, 0.5, 0.005])
def test_a_threshold_keeps_what_it_was_asked_to(keep: float) -> None:
    confidence, hits = confidences(*labelled(400, 1.0), None)
    threshold = threshold_keeping(keep, confidence, hits)
    assert threshold is not None
    found = answered(confidence, hits, threshold)
    assert found["kept"] is not None
    assert found["kept"] >= keep
    higher = answered(confidence, hits, threshold + 0.01)["kept"]
    assert higher is not None
    assert higher < found["kept"]
    row = chosen_threshold(fit_decision(*labelled(400, 1.0))["thresholds"], keep)
    assert row is not None
    assert row["keep"] == pytest.approx(keep)


def test_fewer_answers_are_better_answers() -> None:
    logits, labels = labelled(3000, 1.0)
    rows = fit_decision(logits, labels)["thresholds"]
    assert len(rows) == STEPS + 1
    some = [row for row in rows if row["coverage"] > 0.1]
    assert some[-1]["accuracy"] > some[0]["accuracy"] + 0.05
    curve = calibration_report(logits, labels, None, 0.5)["curve"]
    assert curve[-1]["coverage"] == 1.0
    assert curve[10]["accuracy"] > curve[-1]["accuracy"]


def test_a_network_that_is_never_right_has_no_threshold() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = fit_decision(logits, np.array([1, 0]))
    assert found["thresholds"] == []
    assert chosen_threshold(found["thresholds"], 0.95) is None
    assert found["temperature"] > 1
    assert answered(np.array([0.5]), np.array([False]), 0.9) == {"coverage": 0.0, "accuracy": None, "kept": None}


def test_an_overconfident_network_is_cooled_and_refuses_what_shows_no_feature() -> None:
    """Each class has a feature of its own, which the network takes four times too seriously; noise has none."""
    rng = np.random.default_rng(0)

    def features(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 5, count)
        found = rng.normal(0, 1, (count, 5))
        found[np.arange(count), labels] += 3
        return found, labels

    def network(found: np.ndarray) -> np.ndarray:
        return 4 * 3 * found

    selected, labels = features(300)
    fitted = fit_decision(network(selected), labels)
    row = chosen_threshold(fitted["thresholds"], 0.95)
    assert row is not None
    assert 2.5 < fitted["temperature"] < 6
    reported, truth = features(2000)
    report = calibration_report(network(reported), truth, fitted["temperature"], row["threshold"])
    assert report["calibration_error"] < 0.6 * report["calibration_error_before"]
    assert report["answered"]["kept"] > 0.93
    assert report["answered"]["accuracy"] > np.mean(network(reported).argmax(axis=1) == truth)
    noise, none = rng.normal(0, 0.5, (2000, 5)), np.zeros(2000, int)
    scores, _ = confidences(network(noise), none, fitted["temperature"])
    uncooled, _ = confidences(network(noise), none, None)
    assert np.mean(scores < row["threshold"]) > 0.6
    assert np.mean(uncooled < row["threshold"]) < 0.3  # the same threshold without the temperature
