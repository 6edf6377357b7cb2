"""The linear classifier on features: the convex optimum, the decay that selection chooses, and bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from mobilenets.training import head
from mobilenets.training.head import DECAYS, fit_head


def clusters(images: int, seed: int, *, classes: int = 4, dimensions: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds, their dimensions of very different size, one of them constant."""
    centres = np.random.default_rng(0).normal(size=(classes, dimensions))
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=images)
    features = centres[labels] + 1.5 * rng.normal(size=(images, dimensions))
    features = features * np.logspace(-3, 2, dimensions) + 7
    features[:, 5] = 3.0
    return features.astype(np.float32), labels.astype(np.int64)


def test_it_is_the_optimum_that_sklearn_finds() -> None:
    train, selection = clusters(600, 1), clusters(200, 2)
    fit = fit_head([train], selection, 4)
    mean, std = train[0].mean(0), train[0].std(0)
    std = np.maximum(std, std.mean() / 100)
    reference = LogisticRegression(C=1 / (fit.decay * 600), tol=1e-8, max_iter=5000)
    reference.fit((train[0] - mean) / std, train[1])
    expected = reference.predict_proba((selection[0] - mean) / std)
    ours = F.softmax(torch.from_numpy(selection[0]) @ fit.weight.T + fit.bias, 1).numpy()
    assert np.abs(ours - expected).max() < 0.01


def test_the_decay_is_the_one_with_the_least_selection_loss() -> None:
    """Few noisy images want a strong decay, many want a weak one."""
    selection = clusters(500, 3)
    few, many = fit_head([clusters(12, 4)], selection, 4), fit_head([clusters(4000, 5)], selection, 4)
    assert few.decay > 10 * many.decay
    assert {few.decay, many.decay} <= set(DECAYS)
    features, labels = selection
    loss = F.cross_entropy(torch.from_numpy(features) @ many.weight.T + many.bias, torch.from_numpy(labels))
    assert float(loss) == pytest.approx(many.selection_loss, rel=1e-3)
    assert many.selection_loss < few.selection_loss


def test_features_on_disk_give_the_same_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, selection = clusters(700, 6), clusters(200, 7)
    whole = fit_head([train], selection, 4)
    train[0].tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", np.float32, mode="r").reshape(700, -1)
    monkeypatch.setattr(head, "KEPT_BYTES", 0)
    monkeypatch.setattr(head, "CHUNK", 64)
    parts = fit_head([(mapped[:300], train[1][:300]), (mapped[300:], train[1][300:])], selection, 4)
    assert parts.decay == whole.decay
    assert parts.selection_loss == pytest.approx(whole.selection_loss, rel=0.01)
