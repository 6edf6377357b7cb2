"""Losses against torch's own and their definitions, and what classes weigh."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mobilenets.tasks.classify import soft_targets
from mobilenets.tasks.losses import Loss, class_weights, classification_loss


def example() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(16, 5), torch.randint(0, 5, (16,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_cross_entropy_is_torchs_with_label_smoothing(smoothing: float) -> None:
    logits, labels = example()
    targets = soft_targets(labels, 5, smoothing)
    assert torch.allclose(targets.sum(dim=1), torch.ones(16))
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.allclose(classification_loss(logits, targets), expected, atol=1e-6)


def test_focal_is_cross_entropy_that_forgets_what_is_easy() -> None:
    logits, labels = example()
    targets = soft_targets(labels, 5, 0.0)
    p = logits.softmax(1)[torch.arange(16), labels]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    assert torch.allclose(classification_loss(logits, targets, Loss(name="focal")), expected, atol=1e-6)
    plain = classification_loss(logits, targets, Loss(name="focal", gamma=0.0))
    assert torch.allclose(plain, F.cross_entropy(logits, labels), atol=1e-6)


def test_bce_is_torchs_on_soft_targets() -> None:
    logits, labels = example()
    targets = soft_targets(labels, 5, 0.1)
    expected = -(targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits)).mean()
    assert torch.allclose(classification_loss(logits, targets, Loss(name="bce")), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "focal"])
def test_gradients_are_finite_where_the_answer_is_certain(name: str) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = classification_loss(logits, soft_targets(torch.tensor([0, 0]), 2, 0.0), Loss(name=name))  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    assert float(logits.grad.abs().max()) > 0.01  # type: ignore[union-attr]


LABELS = np.repeat([0, 1, 3], [100, 10, 1])


def test_weights_by_the_number_of_images() -> None:
    inverse = class_weights(Loss(class_weights="inverse"), LABELS, 4)
    assert inverse is not None
    assert inverse.tolist() == pytest.approx([0.37, 3.7, 0.0, 37.0])  # 111 images in 3 classes: 37 / n
    effective = class_weights(Loss(class_weights="effective", beta=0.9), LABELS, 4)
    assert effective is not None
    ratios = [(1 - 0.9**n) for n in (100, 10, 1)]
    assert (effective[3] / effective[0]).item() == pytest.approx(ratios[0] / ratios[2], rel=1e-5)
    assert float(effective[torch.from_numpy(LABELS)].mean()) == pytest.approx(1.0, rel=1e-5)
    assert class_weights(Loss(), LABELS, 4) is None


def test_a_weighted_loss_is_torchs_for_distributions() -> None:
    logits, labels = example()
    targets = soft_targets(labels, 5, 0.1)
    weights = torch.tensor([0.5, 2.0, 1.0, 0.1, 3.0])
    expected = F.cross_entropy(logits, targets, weight=weights)
    assert torch.allclose(classification_loss(logits, targets, Loss(), weights), expected, atol=1e-6)
