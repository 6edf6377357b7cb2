"""Image classification: targets, and the metrics of a set of logits. The losses stand in `losses`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """(N,) class indices -> (N, classes) targets that sum to 1, with label smoothing (Szegedy et al. 2016)."""
    off = smoothing / classes
    targets = torch.full((len(labels), classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1.0 - smoothing + off)


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a rate, fractions 0...1 (Wilson 1927); (0, 1) when nothing was counted.

    >>> [round(x, 3) for x in wilson(90, 100)]
    [0.826, 0.945]
    """
    if total == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    rate = correct / total
    centre = rate + z * z / (2 * total)
    half = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (centre - half) / scale if correct else 0.0, (centre + half) / scale if correct < total else 1.0


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) logits -> probabilities, float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def top_k_hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(N,) booleans: the label's logit is among the k largest. A tie counts against the label."""
    own = logits[np.arange(len(labels)), labels]
    better = (logits >= own[:, None]).sum(axis=1) - 1
    return better < k


def classification_report(
    logits: np.ndarray, labels: np.ndarray, names: Sequence[str], files: Sequence[str], *, mistakes: int = 50
) -> dict[str, Any]:
    """Everything `evaluate` says about a set of logits.

    `logits` (N, C), `labels` (N,) in 0...C-1, `names` of the C classes, `files` of the N images. Rates are fractions;
    precision, recall and F1 are means over the classes that have images (macro). `confusion` has the true class in
    rows. `mistakes` lists the most confident wrong answers first. Raises ValueError when nothing was scored.
    """
    if len(labels) == 0:
        raise ValueError("no images to score")
    classes = len(names)
    probabilities = softmax(logits)
    predicted = logits.argmax(axis=1)
    hits = top_k_hits(logits, labels, 1)
    # a tie for the first place is no right answer, wherever argmax happens to point
    predicted = np.where(hits | (predicted != labels), predicted, _runner_up(logits, labels))
    correct = int(hits.sum())
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    per_class = _per_class(confusion, names)
    counted = [row for row in per_class if row["images"]]
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean()
    report: dict[str, Any] = {
        "images": len(labels),
        "top1": correct / len(labels),
        "top1_interval": list(wilson(correct, len(labels))),
        "top5": float(top_k_hits(logits, labels, 5).mean()) if classes >= 5 else None,
        "loss": float(loss),
    }
    for key in ("precision", "recall", "f1"):
        report[key] = float(np.mean([row[key] for row in counted]))
    report["per_class"] = per_class
    report["confusion"] = confusion.tolist()
    report["labels"] = list(names)
    missed = np.flatnonzero(~hits)
    wrong: list[int] = missed[np.argsort(-probabilities[missed, predicted[missed]], kind="stable")][:mistakes].tolist()
    report["mistakes"] = [
        {
            "file": files[i],
            "label": names[labels[i]],
            "predicted": names[predicted[i]],
            "score": float(probabilities[i, predicted[i]]),
        }
        for i in wrong
    ]
    return report


def _runner_up(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.argmax(axis=1)


def _per_class(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for index, name in enumerate(names):
        right = int(confusion[index, index])
        images, answers = int(confusion[index].sum()), int(confusion[:, index].sum())
        precision = right / answers if answers else 0.0
        recall = right / images if images else 0.0
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        rows.append({"label": name, "images": images, "precision": precision, "recall": recall, "f1": f1})
    return rows
