"""Latency as a sum of non-negative parts, fitted to networks that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...arch.spec import Spec
from .features import features

_PASSES = 2000


@dataclass(frozen=True)
class LatencyModel:
    """Predicts milliseconds of a Spec. `weights` (16,) belong to `features.features`, each 0 or more.

    `error` is the median, `error_90` the 90 % quantile of the relative error on networks left out of the fit.
    """

    weights: np.ndarray
    error: float
    error_90: float
    measured: int

    def __call__(self, spec: Spec) -> float:
        """Milliseconds."""
        return float(features(spec) @ self.weights)


def fit(specs: Sequence[Spec], milliseconds: Sequence[float], folds: int = 5) -> LatencyModel:
    """The model of networks that were measured; its error is that of networks left out, a fifth at a time."""
    rows, times = np.stack([features(spec) for spec in specs]), np.asarray(milliseconds, float)
    fold = np.arange(len(rows)) % min(folds, len(rows))
    errors = np.zeros(len(rows))
    for out in set(fold.tolist()):
        inside = fold != out
        predicted = rows[~inside] @ _non_negative(rows[inside], times[inside])
        errors[~inside] = np.abs(predicted / times[~inside] - 1)
    median, high = np.quantile(errors, (0.5, 0.9))
    return LatencyModel(_non_negative(rows, times), float(median), float(high), len(rows))


def _non_negative(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """argmin of the relative squared error over weights of 0 or more, by coordinate descent; a little ridge."""
    scaled = rows / times[:, None]
    size = np.maximum(np.sqrt((scaled**2).sum(0)), 1e-12)
    columns = scaled / size
    gram = columns.T @ columns + 1e-4 * np.eye(columns.shape[1])
    pull = columns.sum(0)
    weights = np.zeros(len(pull))
    for _ in range(_PASSES):
        before = weights.copy()
        for place in range(len(weights)):
            rest = pull[place] - gram[place] @ weights + gram[place, place] * weights[place]
            weights[place] = max(rest / gram[place, place], 0.0)
        if np.abs(weights - before).max() < 1e-9 * max(weights.max(), 1e-12):
            break
    return weights / size
