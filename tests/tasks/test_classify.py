"""Metrics against plain loops and scikit-learn, and the loss against torch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, top_k_accuracy_score

from mobilenets.tasks.classify import (
    classification_report,
    top_k_hits,
    wilson,
)


def example(classes: int = 7, images: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1
    return logits, labels


def report(logits: np.ndarray, labels: np.ndarray, **options: int) -> dict:
    names = [f"class {i}" for i in range(logits.shape[1])]
    return classification_report(logits, labels, names, [f"{i}.jpg" for i in range(len(labels))], **options)


def test_agrees_with_scikit_learn() -> None:
    logits, labels = example()
    ours = report(logits, labels)
    predicted = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert ours["precision"] == pytest.approx(precision)
    assert ours["recall"] == pytest.approx(recall)
    assert ours["f1"] == pytest.approx(f1)
    assert ours["confusion"] == confusion_matrix(labels, predicted).tolist()
    assert ours["top5"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(7)))
    assert ours["loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(7)), rel=1e-5)


def test_mistakes_are_the_wrong_answers_most_confident_first() -> None:
    logits, labels = example()
    ours = report(logits, labels, mistakes=10)
    scores = [row["score"] for row in ours["mistakes"]]
    assert scores == sorted(scores, reverse=True)
    for row in ours["mistakes"]:
        index = int(row["file"].removesuffix(".jpg"))
        assert row["label"] == f"class {labels[index]}" != row["predicted"] == f"class {logits[index].argmax()}"


def test_a_collapsed_network_scores_nothing_by_ties() -> None:
    logits, labels = np.zeros((30, 3), np.float32), np.arange(30) % 3
    ours = report(logits, labels)
    assert ours["top1"] == 0
    assert np.trace(np.array(ours["confusion"])) == 0


def test_a_class_without_images_does_not_lower_the_means() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 0, 1]] * 5
    ours = report(logits, np.array([0, 1, 0, 1]))
    assert ours["top1"] == ours["precision"] == ours["recall"] == ours["f1"] == 1
    assert ours["top5"] is None


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        report(np.zeros((0, 3)), np.zeros(0, int))


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_its_equation(counts: tuple[int, int]) -> None:
    """Each bound p satisfies |rate - p| = z sqrt(p (1 - p) / n), the interval's definition."""
    correct, total = counts
    rate = correct / total
    low, high = wilson(correct, total)
    assert 0 <= low <= rate + 1e-12
    assert rate - 1e-12 <= high <= 1
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:
            assert abs(rate - bound) == pytest.approx(
                1.959963984540054 * math.sqrt(bound * (1 - bound) / total), abs=1e-9
            )


@given(st.integers(0, 5), st.integers(1, 5))
def test_top_k_against_sorting(seed: int, k: int) -> None:
    logits, labels = example(seed=seed, images=40)
    slow = [label in sorted(range(7), key=lambda c: -row[c])[:k] for row, label in zip(logits, labels)]
    assert top_k_hits(logits, labels, k).tolist() == slow
