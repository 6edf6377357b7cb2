"""One picture and one class of it, asked of a network again and again with parts covered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...tasks.classify import softmax

BATCH = 16


@dataclass
class Asking:
    """A picture, uint8 RGB (R, R, 3), whose class `label` is in question.

    `logits` is what the network gives for uint8 (N, R, R, 3); `fill` (3,) is the colour that covers, the mean that the
    network subtracts, so that what is covered says nothing. `on_runs` is told how many more pictures were run; `runs`
    counts them.
    """

    image: np.ndarray
    label: int
    logits: Callable[[np.ndarray], np.ndarray]
    temperature: float
    fill: np.ndarray
    on_runs: Callable[[int], None]
    runs: int = field(default=0)

    @property
    def side(self) -> int:
        """R."""
        return len(self.image)

    def shown(self, masks: np.ndarray) -> np.ndarray:
        """The picture under each of float masks (N, R, R): 1 shows a pixel, 0 covers it. uint8 (N, R, R, 3)."""
        kept = masks[..., None].astype(np.float32)
        mixed = kept * self.image + (1 - kept) * self.fill.astype(np.float32)
        return np.round(mixed).astype(np.uint8)

    def scores(self, masks: np.ndarray) -> np.ndarray:
        """The score of the class, 0...1, under each of masks (N, R, R): (N,)."""
        found: np.ndarray = softmax(self._run(masks))[:, self.label]
        return found

    def log_odds(self, masks: np.ndarray) -> np.ndarray:
        """log(score / (1 - score)) under each of masks (N, R, R): (N,); it moves where a score already is 1.0000."""
        logits = self._run(masks).astype(np.float64)
        own = logits[:, self.label].copy()
        logits[:, self.label] = -np.inf
        most = logits.max(axis=1)
        found: np.ndarray = own - most - np.log(np.exp(logits - most[:, None]).sum(axis=1))
        return found

    def _run(self, masks: np.ndarray) -> np.ndarray:
        """The scaled logits (N, C), a batch at a time."""
        rows = []
        for start in range(0, len(masks), BATCH):
            part = masks[start : start + BATCH]
            rows.append(self.logits(self.shown(part)))
            self.runs += len(part)
            self.on_runs(len(part))
        found: np.ndarray = np.concatenate(rows) / self.temperature
        return found
