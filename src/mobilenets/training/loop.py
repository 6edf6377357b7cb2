"""The steps of an epoch of training, and scoring during training. Knows nothing of folders, resuming or reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..arch.spec import Preprocessing
from ..data.augment import erase_, mix
from ..data.loader import Batch, Loader
from ..errors import UserError
from ..nn.noise import generators, part_of_batch, set_generators_
from ..nn.sync_norm import local_statistics
from ..tasks.classify import soft_targets
from ..tasks.losses import Loss, class_weights, classification_loss
from .average import Average
from .freeze import Freezing
from .optimise import set_rate_, step_
from .parallel import Ranks
from .part import Part
from .recipe import Recipe
from .schedule import learning_rate

LossOf = Callable[[nn.Module, Tensor, Tensor, Batch], Tensor]  # network, images, targets (N, C), what was loaded


@dataclass
class EpochResult:
    """What an epoch of training gave. `finished` is false when `go_on` ended it early."""

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


@dataclass(kw_only=True)
class Epoch:
    """Steps down the gradient, batch after batch; the same for one process and for several, see `parallel`.

    `network` trains, `beside` with it where there is something. `freezing` says which parts train when; None: all of
    them. `loss_of` runs the network on a batch. `bfloat16` runs the forward and backward pass under autocast; weights,
    loss and scoring stay float32. A batch is passed in `recipe.accumulate` pieces, whose gradients add up to its own.
    Of several processes each passes its part of the batch, and all take the same step.
    """

    network: nn.Module
    loader: Loader
    optimiser: Optimizer
    recipe: Recipe
    classes: int
    normalise: Normaliser
    loss_of: LossOf
    average: Average | None = None
    beside: nn.Module | None = None
    freezing: Freezing | None = None
    bfloat16: bool = False
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        partial = self.freezing is not None and self.freezing.partial
        self._wrapped = self.ranks.wrapped(self.network, self.normalise.mean.device, partial=partial)

    def run(
        self,
        epoch: int,
        part: Part,
        *,
        go_on: Callable[[Part], bool],
        progress: Callable[[int], float],
        on_step: Callable[[int, float, float], None],
    ) -> EpochResult:
        """Does what is left of an epoch of which `part` is done; `part` follows step by step.

        `go_on` is asked before each step, and may leave by an exception: all of `part` is done then, and nothing more.
        `progress(step)` gives the part of the whole training done, 0...1. `on_step(step, loss, images_per_second)` is
        told after each step. Raises UserError on a loss that is not finite.
        """
        recipe, loader, ranks = self.recipe, self.loader, self.ranks
        self.network.train()
        part.begin()
        first, before = -1, part.seconds
        started = time.perf_counter()
        with closing(loader.epoch(epoch, part.steps)) as batches:
            while (batch := ranks.together(lambda: next(batches, None))) is not None and go_on(part):
                done = progress(part.steps)
                part.lr = lr = learning_rate(recipe.optimiser.lr, recipe.schedule, done, recipe.epochs)
                set_rate_(self.optimiser, lr)
                if self.freezing is not None and first != self.freezing.first(done):
                    first = self.freezing.apply_(done)
                loss = self.gradients(batch, part.rng)
                if not np.isfinite(loss):
                    raise UserError(
                        f"the loss became {loss} at step {part.steps + 1} of epoch {epoch + 1} (learning rate {lr:.3g})"
                        "; the last checkpoint is kept: try a lower --lr with --restart"
                    )
                self.step()
                part.steps += 1
                part.loss += loss
                part.seconds = before + time.perf_counter() - started
                on_step(part.steps, loss, part.steps * loader.batch_size / part.seconds)
        steps = part.steps
        images = steps * loader.batch_size
        finished = steps == loader.steps
        return EpochResult(part.loss / max(steps, 1), part.lr, steps, images, part.seconds, finished=finished)

    def gradients(self, batch: Batch, rng: np.random.Generator) -> float:
        """Puts the gradients of the mean loss over the whole batch into the parameters; returns that loss.

        `batch` is this process's part of it. Each piece counts by its images, so that the mean is exact where pieces
        differ in size; and each draws the noise that its images have in the whole batch.
        """
        loader, world = self.loader, self.ranks.world
        images, targets = prepare(batch, self.recipe, self.classes, self.normalise, rng, loader)
        self.optimiser.zero_grad(set_to_none=True)
        pieces = np.array_split(np.arange(len(images)), self.recipe.accumulate)
        noise = generators() if len(pieces) > 1 else {}
        total = 0.0
        for number, rows in enumerate(pieces):
            if number:
                set_generators_(noise)
            with self.ranks.watching(), self._passing(rows, last=rows is pieces[-1]):
                own = slice(rows[0], rows[-1] + 1)
                with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
                    loss = self.loss_of(self._wrapped, images[own], targets[own], batch.rows(own))
                share = len(rows) / loader.batch_size
                (loss * (share * world)).backward()  # what is exchanged is the mean over the processes
                total += float(loss.detach()) * share
        if self.beside is not None:
            self.ranks.mean_(weight.grad for weight in self.beside.parameters() if weight.grad is not None)
        return self.ranks.sum(total)[0]

    @contextmanager
    def _passing(self, rows: np.ndarray, *, last: bool) -> Iterator[None]:
        """Around the pass of one piece; gradients are exchanged with the `last`, and lie where they are until then."""
        places = torch.from_numpy(self.loader.places[rows])
        wrapped = self._wrapped
        waiting = wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not last else nullcontext()
        with part_of_batch(self.loader.batch_size, places), waiting:
            yield

    def step(self) -> None:
        """One step down the gradients that lie in the parameters; the averaged weights follow.

        BatchNorm's running statistics become the mean over the processes, each of which saw its own images.
        """
        self.ranks.mean_(local_statistics(self.network))
        step_(self.optimiser, list(self.network.parameters()), self.recipe.optimiser)
        if self.average is not None:
            self.average.update(self.network)


def prepare(
    batch: Batch,
    recipe: Recipe,
    classes: int,
    normalise: Normaliser,
    rng: np.random.Generator,
    loader: Loader,
) -> tuple[Tensor, Tensor]:
    """A loaded batch as network input (N, 3, H, W) and targets (N, classes), augmented on the batch."""
    augmentation, device = recipe.augmentation, normalise.mean.device
    images = normalise(batch.images.to(device))
    if augmentation.erase:
        images = erase_(images, augmentation.erase, rng, loader.places, loader.batch_size)
    targets = soft_targets(batch.labels.to(device), classes, recipe.label_smoothing)
    return mix(images, targets, augmentation, rng)


def compute_logits(
    network: nn.Module, batches: Iterable[tuple[np.ndarray, np.ndarray]], normalise: Normaliser, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and labels (N,) of batches of (uint8 (N, R, R, 3), labels); the network is put in eval mode."""
    logits, labels = zip(*logits_by_batch(network, batches, normalise, device))
    return np.concatenate(logits), np.concatenate(labels)


@torch.inference_mode()
def logits_by_batch(
    network: nn.Module, batches: Iterable[tuple[np.ndarray, np.ndarray]], normalise: Normaliser, device: torch.device
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `compute_logits` gives, batch by batch; there may be none."""
    network.eval()
    found = []
    for images, truth in batches:
        found.append((network(normalise(torch.from_numpy(images).to(device))).float().cpu().numpy(), truth))
    return found
