"""What a classifier is trained to make small, and how much each class counts in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..arch.check import check_number


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Which loss, and what each class weighs in it.

    `bce` asks of every class on its own whether it is there, the mean over classes (Wightman et al. 2021, "ResNet
    strikes back"). `focal` is cross-entropy times (1 - p) to the power of `gamma`: what is easy counts less (Lin et al.
    2017). `class_weights` for classes of unequal size: `inverse` to their number of images, or to their `effective`
    number (1 - beta^n) / (1 - beta) (Cui et al. 2019); their mean over the training images is 1.
    """

    name: Literal["cross_entropy", "bce", "focal"] = "cross_entropy"
    gamma: float = 2.0
    class_weights: Literal["none", "inverse", "effective"] = "none"
    beta: float = 0.999

    def __post_init__(self) -> None:
        check_number("loss gamma", self.gamma, least=0, most=10)
        check_number("loss beta", self.beta, least=0, below=1)


def classification_loss(
    logits: Tensor, targets: Tensor, loss: Loss | None = None, weights: Tensor | None = None
) -> Tensor:
    """The mean loss of (N, C) logits against (N, C) target distributions, a scalar; cross-entropy in nats.

    `weights` (C,) multiplies each class's part; see `class_weights`.
    """
    loss = loss or Loss()
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if loss.name == "bce":
        return F.binary_cross_entropy_with_logits(logits, targets, weight=weights)
    logs = F.log_softmax(logits, dim=1)
    if loss.name == "focal":
        logs = logs * (1 - logs.exp()) ** loss.gamma
    if weights is not None:
        logs = logs * weights
    return -(targets * logs).sum(dim=1).mean()


def class_weights(loss: Loss, labels: np.ndarray, classes: int) -> Tensor | None:
    """(classes,) float32: what each class weighs; None where all weigh the same. `labels` (N,) of the training images.

    The mean over the images is 1, so that the learning rate keeps its meaning. A class without images weighs 0.
    """
    if loss.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    size = counts if loss.class_weights == "inverse" else (1 - loss.beta**counts) / (1 - loss.beta)
    weights = np.divide(1.0, size, out=np.zeros_like(size), where=counts > 0)
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()
