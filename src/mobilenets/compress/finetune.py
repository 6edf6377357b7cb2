"""A short training in memory: what pruning does between its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from ..data.loader import Batch, Loader
from ..nn.network import Network
from ..nn.placement import placed
from ..tasks.classify import soft_targets
from ..tasks.losses import Loss, classification_loss
from ..training.distill_losses import soft_loss
from ..training.loop import Normaliser, compute_logits

SMOOTHING = 0.1
_CPU = torch.device("cpu")


class Finetuner:
    """Trains networks on the loader's images, for some steps at a time, taught by `teacher` (images -> logits) too.

    The batches of one call follow those of the call before. The loss is half that on the labels, half the divergence
    from the teacher. `bfloat16`: as in training.
    """

    def __init__(
        self,
        loader: Loader,
        normalise: Normaliser,
        teacher: Callable[[Tensor], Tensor],
        *,
        lr: float,
        bfloat16: bool = False,
    ) -> None:
        self.loader, self.normalise, self.teacher = loader, normalise, teacher
        self.lr, self.bfloat16 = lr, bfloat16
        self._batches: Iterator[Batch] = self._endless()

    def train_(self, network: Network, steps: int, on_step: Callable[[int], None] = lambda done: None) -> None:
        """So many steps of AdamW, its rate falling to nothing; `on_step` is told how many are done."""
        network.train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=0.01, foreach=True)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = self.lr * (1 - step / steps)
            loss = self.loss(network, next(self._batches))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0, foreach=True)
            optimiser.step()
            on_step(step + 1)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        images = self.normalise(batch.images)
        with torch.no_grad():
            wanted = self.teacher(images).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = network(images)
        targets = soft_targets(batch.labels, logits.shape[1], SMOOTHING)
        return 0.5 * classification_loss(logits.float(), targets, Loss()) + 0.5 * soft_loss(logits.float(), wanted, 1.0)

    def next_batch(self) -> Batch:
        """The next batch."""
        return next(self._batches)

    def close(self) -> None:
        """Stops what prepares batches."""
        with suppress(AttributeError):
            self._batches.close()  # type: ignore[attr-defined]

    def _endless(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from self.loader.epoch(epoch)
            epoch += 1


def judge(
    network: Network, images: np.ndarray, labels: np.ndarray, normalise: Normaliser, *, bfloat16: bool = False
) -> tuple[float, float]:
    """Loss in nats and top-1 (0...1) of uint8 images (n, R, R, 3); the network is left in evaluation mode.

    `bfloat16`: computed as it trains, which is enough to tell networks apart.
    """
    batches = ((images[start : start + 64], labels[start : start + 64]) for start in range(0, len(images), 64))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits, truth = compute_logits(placed(network, _CPU), batches, normalise, _CPU)
    found = torch.from_numpy(logits).double().log_softmax(1)
    loss = -found[torch.arange(len(truth)), torch.from_numpy(truth)].mean()
    return float(loss), float((logits.argmax(1) == truth).mean())
