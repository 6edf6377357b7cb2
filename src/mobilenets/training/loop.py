"""One epoch of training, and scoring during training. Knows nothing of folders, resuming or reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..arch.spec import Preprocessing
from ..data.augment import erase_, mix
from ..data.loader import Batch, Loader
from ..errors import UserError
from ..tasks.classify import soft_targets
from ..tasks.losses import Loss, class_weights, classification_loss
from .average import Average
from .freeze import Freezing
from .optimise import set_rate_, step_
from .recipe import Recipe
from .schedule import learning_rate

LossOf = Callable[[nn.Module, Tensor, Tensor, Batch], Tensor]  # network, images, targets (N, C), what was loaded


@dataclass
class EpochResult:
    """What an epoch of training gave. `finished` is false when `keep_going` ended it early."""

    loss: float
    lr: float | None  # None: no steps down a gradient
    steps: int
    images: int
    seconds: float
    finished: bool


class Normaliser:
    """uint8 or float (N, H, W, 3) in 0...255 -> normalised (N, 3, H, W) in channels_last memory."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.mean = torch.tensor(preprocessing.mean, device=device)
        self.scale = 1 / torch.tensor(preprocessing.std, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        n, height, width, channels = images.shape
        mean, scale = self.mean.repeat(width), self.scale.repeat(width)  # whole rows: five times as quick as by threes
        rows = images.reshape(n, height, width * channels).to(torch.float32, copy=True)
        rows.sub_(mean).mul_(scale)
        return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class LabelLoss:
    """The loss on labels alone: `loss_of` of a training without a teacher. `weights` (classes,) or None: all alike."""

    loss: Loss = field(default_factory=Loss)
    weights: Tensor | None = None

    @classmethod
    def of(cls, loss: Loss, labels: np.ndarray, classes: int, device: torch.device) -> LabelLoss:
        """That of training images with `labels` (N,), their classes weighed as `loss` says."""
        weights = class_weights(loss, labels, classes)
        return cls(loss, None if weights is None else weights.to(device))

    def of_logits(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (N, C) with targets (N, C), a scalar."""
        return classification_loss(logits, targets, self.loss, self.weights)

    def __call__(self, network: nn.Module, images: Tensor, targets: Tensor, _: Batch) -> Tensor:
        """The loss of normalised images (N, 3, H, W)."""
        return self.of_logits(network(images), targets)


def train_epoch(
    network: nn.Module,
    loader: Loader,
    optimiser: Optimizer,
    recipe: Recipe,
    *,
    epoch: int,
    classes: int,
    normalise: Normaliser,
    average: Average | None,
    progress: Callable[[int], float],
    on_step: Callable[[int, float, float], None],
    keep_going: Callable[[], bool],
    device: torch.device,
    bfloat16: bool = False,
    freezing: Freezing | None = None,
    loss_of: LossOf,
) -> EpochResult:
    """Trains for one epoch. `progress(step)` gives the part of the whole training done, 0...1.

    `freezing` says which parts train when; None: all of it. `loss_of` runs the network on a batch.
    `bfloat16` runs the forward and backward pass under autocast; weights, loss and scoring stay float32.
    `on_step(step, loss, images_per_second)` is told after each step. Raises UserError on a loss that is not finite.
    """
    network.train()
    torch.manual_seed(_mixed(loader.seed, epoch))  # dropout repeats after a resume
    rng = np.random.default_rng((loader.seed, epoch, 1))  # erasing and mixing
    total, steps, lr = 0.0, 0, 0.0
    first = -1
    started = time.perf_counter()
    for batch in loader.epoch(epoch):
        if not keep_going():
            break
        done = progress(steps)
        lr = learning_rate(recipe.optimiser.lr, recipe.schedule, done, recipe.epochs)
        set_rate_(optimiser, lr)
        if freezing is not None and first != freezing.first(done):
            first = freezing.apply_(done)
        images, targets = prepare(batch, recipe, classes, normalise, rng, device)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = loss_of(network, images, targets, batch)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise UserError(
                f"the loss became {value} at step {steps + 1} of epoch {epoch + 1} (learning rate {lr:.3g}); "
                "the last checkpoint is kept: try a lower --lr with --restart"
            )
        loss.backward()
        step_(optimiser, list(network.parameters()), recipe.optimiser)
        if average is not None:
            average.update(network)
        steps += 1
        total += value
        on_step(steps, value, steps * loader.batch_size / (time.perf_counter() - started))
    seconds = time.perf_counter() - started
    return EpochResult(
        total / max(steps, 1), lr, steps, steps * loader.batch_size, seconds, finished=steps == loader.steps
    )


def prepare(
    batch: Batch,
    recipe: Recipe,
    classes: int,
    normalise: Normaliser,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """A loaded batch as network input (N, 3, H, W) and targets (N, classes), augmented on the batch."""
    augmentation = recipe.augmentation
    images = normalise(batch.images.to(device))
    if augmentation.erase:
        images = erase_(images, augmentation.erase, rng)
    targets = soft_targets(batch.labels.to(device), classes, recipe.label_smoothing)
    return mix(images, targets, augmentation, rng)


@torch.inference_mode()
def compute_logits(
    network: nn.Module, batches: Iterable[tuple[np.ndarray, np.ndarray]], normalise: Normaliser, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and labels (N,) of batches of (uint8 (N, R, R, 3), labels); the network is put in eval mode."""
    network.eval()
    logits, labels = [], []
    for images, truth in batches:
        logits.append(network(normalise(torch.from_numpy(images).to(device))).float().cpu().numpy())
        labels.append(truth)
    return np.concatenate(logits), np.concatenate(labels)


def _mixed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, 2)).generate_state(1)[0])
