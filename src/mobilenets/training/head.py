"""The best linear classifier on given features: a convex problem, solved whole in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Part = tuple[np.ndarray, np.ndarray]  # features float32 (N, D), which may lie on disk, and labels int64 (N,)

DECAYS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)  # on weights of standardised features; strongest first
ITERATIONS = 25  # of L-BFGS for each decay, which goes on from the one before
CHUNK = 8192
KEPT_BYTES = 2**29  # features up to this size are held in memory


@dataclass(frozen=True)
class HeadFit:
    """A classifier: `weight` (C, D), `bias` (C,); the decay that selection chose, the losses in nats."""

    weight: Tensor
    bias: Tensor
    decay: float
    train_loss: float
    selection_loss: float


def fit_head(train: Sequence[Part], selection: Part, classes: int) -> HeadFit:
    """Multinomial logistic regression on the features of all parts of `train`, full-batch L-BFGS.

    Features are standardised, which is folded back into weight and bias. The weight decay is the one of DECAYS with
    the least loss on `selection`; the search stops after two that are worse. Deterministic for a number of threads.
    """
    mean, std = _moments(train)
    data = _Standardised(train, mean, std)
    features, truth = torch.from_numpy(np.array(selection[0])), torch.from_numpy(selection[1])
    features = (features - mean) / std
    dimensions = len(mean)
    weight, bias = torch.zeros(classes, dimensions), torch.zeros(classes)
    best: HeadFit | None = None
    worse = 0
    for decay in DECAYS:
        train_loss = _solve_(data, weight, bias, decay)
        loss = float(F.cross_entropy(features @ weight.T + bias, truth))
        if best is None or loss < best.selection_loss:
            best, worse = HeadFit(weight.clone(), bias.clone(), decay, train_loss, loss), 0
        else:
            worse += 1
            if worse == 2:
                break
    assert best is not None
    plain = best.weight / std
    return HeadFit(plain, best.bias - plain @ mean, best.decay, best.train_loss, best.selection_loss)


class _Standardised:
    """Passes over (features, labels) in chunks of bounded size; kept in memory where they are small."""

    def __init__(self, parts: Sequence[Part], mean: Tensor, std: Tensor) -> None:
        self.parts, self.mean, self.std = parts, mean, std
        self.images = sum(len(labels) for _, labels in parts)
        self.kept: list[tuple[Tensor, Tensor]] | None = None
        if sum(features.nbytes for features, _ in parts) <= KEPT_BYTES:
            self.kept = list(self._read())

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._read() if self.kept is None else self.kept

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        for features, labels in _chunked(self.parts):
            yield (features - self.mean) / self.std, labels


def _chunked(parts: Sequence[Part]) -> Iterator[tuple[Tensor, Tensor]]:
    for features, labels in parts:
        for begin in range(0, len(labels), CHUNK):
            part = np.array(features[begin : begin + CHUNK], np.float32)
            yield torch.from_numpy(part), torch.from_numpy(labels[begin : begin + CHUNK])


def _moments(parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature; one that hardly varies counts as a hundredth of the usual one."""
    count, total = 0, torch.zeros((), dtype=torch.float64)
    for features, labels in _chunked(parts):
        count += len(labels)
        total = total + features.double().sum(0)
    mean = total / count
    squares = torch.zeros_like(mean)
    for features, _ in _chunked(parts):
        squares += (features.double() - mean).square().sum(0)
    std = (squares / count).sqrt()
    std = std.clamp(min=float(std.mean()) / 100 + 1e-12)
    return mean.float(), std.float()


def _solve_(data: _Standardised, weight: Tensor, bias: Tensor, decay: float) -> float:
    """Minimises mean cross-entropy + decay / 2 * |weight|² in place; returns the mean cross-entropy."""
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, max_eval=2 * ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )
    entropy = 0.0

    def closure() -> float:
        nonlocal entropy
        entropy = 0.0
        weight.grad.copy_(decay * weight)  # type: ignore[union-attr]
        bias.grad.zero_()  # type: ignore[union-attr]
        for features, labels in data.chunks():
            logits = torch.addmm(bias, features, weight.T)
            entropy += float(F.cross_entropy(logits, labels, reduction="sum")) / data.images
            slope = logits.softmax(1)
            slope[torch.arange(len(labels)), labels] -= 1
            slope /= data.images
            weight.grad.addmm_(slope.T, features)  # type: ignore[union-attr]
            bias.grad += slope.sum(0)  # type: ignore[operator]
        return entropy + decay / 2 * float(weight.square().sum())

    optimiser.step(closure)
    return entropy
