"""How far scores can be believed: temperature, calibration error, and the score below which nothing is answered.

Scores are softmax(logits / temperature); confidences (N,) are the largest score of each image, hits (N,) whether the
answer is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .classify import softmax, top_k_hits

BINS = 15  # Guo et al. 2017
KEPT = 0.95  # share of right answers that a threshold keeps where nobody says: the usual point for telling strangers
STEPS = 200  # of the table of thresholds: one for each half percent
_PRIOR = 1.0  # standard deviation of log temperature before any image was seen
_RANGE = 0.05, 20.0
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels likeliest (Guo et al. 2017), 0.05 to 20; logits (N, C), labels (N,).

    Where Guo et al. minimise the loss alone, log T has a normal prior of standard deviation 1 here. It weighs as much
    as an image or two: it stops a handful of images that are all right from making every score 1, and is nothing
    beside hundreds.
    """
    scaled = logits.astype(np.float64)
    own = scaled[np.arange(len(labels)), labels]

    def loss(log_t: float) -> float:
        over = scaled / math.exp(log_t)
        most = over.max(axis=1)
        total = np.log(np.exp(over - most[:, None]).sum(axis=1)) + most - own / math.exp(log_t)
        return float(total.sum()) + (log_t / _PRIOR) ** 2 / 2

    low, high = (math.log(end) for end in _RANGE)
    grid = np.linspace(low, high, 25)
    best = int(np.argmin([loss(value) for value in grid]))
    return math.exp(_minimum(loss, grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]))


def _minimum(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley has its lowest point, by golden sections."""
    while high - low > 1e-6:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if of(left) < of(right) else (left, high)
    return (low + high) / 2


def confidences(logits: np.ndarray, labels: np.ndarray, temperature: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The confidences and hits of logits (N, C). A tie for the first place is no hit."""
    return softmax(logits / (temperature or 1.0)).max(axis=1), top_k_hits(logits, labels, 1)


def reliability(confidence: np.ndarray, hits: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """For each of `bins` equal parts of 0...1 that has images: low, high, images, their mean confidence, accuracy."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for index in np.unique(place).tolist():
        own = place == index
        rows.append(
            {
                "low": index / bins,
                "high": (index + 1) / bins,
                "images": int(own.sum()),
                "confidence": float(confidence[own].mean()),
                "accuracy": float(hits[own].mean()),
            }
        )
    return rows


def calibration_error(rows: list[dict[str, Any]]) -> float:
    """The expected calibration error: the mean distance of accuracy from confidence, of rows of `reliability`."""
    total = sum(row["images"] for row in rows)
    return float(sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / total)


def answered(confidence: np.ndarray, hits: np.ndarray, threshold: float) -> dict[str, float | None]:
    """What a threshold leaves: `coverage`, the share that is answered, and its `accuracy`; None of nothing.

    `kept` is the share of the right answers that are given, None where no answer is right.
    """
    given = confidence >= threshold
    right = int(hits.sum())
    return {
        "coverage": float(given.mean()),
        "accuracy": float(hits[given].mean()) if given.any() else None,
        "kept": float(hits[given].sum() / right) if right else None,
    }


def threshold_keeping(kept: float, confidence: np.ndarray, hits: np.ndarray) -> float | None:
    """The highest threshold that still gives `kept` (0...1) of the right answers; None where no answer is right.

    Rounded down to four decimals, so that no runtime's rounding falls below it.
    """
    right = np.sort(confidence[hits])
    if not len(right):
        return None
    lost = min(math.floor((1 - kept) * len(right) + 1e-9), len(right) - 1)
    return math.floor(float(right[lost]) * 1e4) / 1e4


def fit_decision(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Temperature and threshold from images that nothing is reported on: logits (N, C), labels (N,).

    `thresholds` has a row for each half percent of right answers kept, so that another one can be chosen without the
    images. Losses are mean cross-entropies in nats.
    """
    temperature = fit_temperature(logits, labels)
    before, hits = confidences(logits, labels, None)
    after, _ = confidences(logits, labels, temperature)
    rows = []
    for step in range(STEPS, -1, -1):
        threshold = threshold_keeping(step / STEPS, after, hits)
        if threshold is None:
            break
        rows.append({"keep": step / STEPS, "threshold": threshold, **answered(after, hits, threshold)})
    return {
        "temperature": temperature,
        "images": len(labels),
        "loss": {"before": _loss(logits, labels), "after": _loss(logits / temperature, labels)},
        "calibration_error": {
            "before": calibration_error(reliability(before, hits)),
            "after": calibration_error(reliability(after, hits)),
        },
        "thresholds": rows,
    }


def chosen_threshold(rows: Sequence[dict[str, Any]], keep: float) -> dict[str, Any] | None:
    """The row of `thresholds` of `fit_decision` that keeps `keep` (0...1), or next more; None where there is none."""
    return next((row for row in reversed(rows) if row["keep"] >= keep - 1e-9), None)


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(softmax(logits)[np.arange(len(labels)), labels], 1e-300)).mean())


def calibration_report(
    logits: np.ndarray, labels: np.ndarray, temperature: float | None, threshold: float | None
) -> dict[str, Any]:
    """How far the scores of logits (N, C) can be believed, without the temperature and with it, and what is answered.

    `curve` has the accuracy of what is answered at each coverage, in hundredths, the most confident images first.
    """
    raw, hits = confidences(logits, labels, None)
    confidence, _ = confidences(logits, labels, temperature)
    before, after = reliability(raw, hits), reliability(confidence, hits)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(hits[order])
    counts = sorted({max(1, round(part * len(labels) / 100)) for part in range(1, 101)})
    return {
        "temperature": temperature,
        "threshold": threshold,
        "calibration_error": calibration_error(after),
        "calibration_error_before": calibration_error(before),
        "reliability": after,
        "reliability_before": before,
        "answered": None if threshold is None else answered(confidence, hits, threshold),
        "curve": [
            {
                "coverage": count / len(labels),
                "accuracy": float(right[count - 1] / count),
                "threshold": float(confidence[order[count - 1]]),
            }
            for count in counts
        ],
    }
