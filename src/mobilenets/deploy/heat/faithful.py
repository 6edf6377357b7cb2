"""Whether a heat map is true: what becomes of the answer when the hottest pixels go, and when they alone are there."""

from __future__ import annotations

from typing import Any

import numpy as np

from .asking import Asking
from .blackbox import random_mask

STEPS = 10  # tenths of the picture
CHANCES = 3  # random maps to compare with
RUNS = (1 + CHANCES) * 2 * (STEPS + 1)


def faithfulness(asking: Asking, heat: np.ndarray, seed: int) -> dict[str, Any]:
    """Deletion and insertion scores (Petsiuk et al. 2018) of a map (R, R), and of random maps as smooth as RISE's.

    `deletion` is the mean score of the class while tenth after tenth of the picture is covered, the hottest first: the
    lower the better. `insertion` is the mean while they are uncovered in a picture that is covered whole: the higher
    the better. `hottest_tenth` is the score with the hottest tenth alone, `without_hottest_tenth` that without it.
    """
    deletion, insertion = _curves(asking, heat)
    chances = [
        _curves(asking, random_mask(asking.side, [seed, index, 1], whole=False).astype(np.float64))
        for index in range(CHANCES)
    ]
    return {
        "deletion": _area(deletion),
        "insertion": _area(insertion),
        "random_deletion": float(np.mean([_area(curve) for curve, _ in chances])),
        "random_insertion": float(np.mean([_area(curve) for _, curve in chances])),
        "without_hottest_tenth": float(deletion[1]),
        "hottest_tenth": float(insertion[1]),
    }


def hottest(heat: np.ndarray, share: float) -> np.ndarray:
    """bool (R, R): the `share` (0...1) of the pixels that is hottest; of equal ones the first."""
    chosen = np.zeros(heat.size, bool)
    chosen[np.argsort(-heat, axis=None, kind="stable")[: round(share * heat.size)]] = True
    return chosen.reshape(heat.shape)


def _curves(asking: Asking, heat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The score at 0, 1, ... 10 tenths of the pixels covered, and at so many uncovered."""
    chosen = np.stack([hottest(heat, step / STEPS) for step in range(STEPS + 1)]).astype(np.float32)
    return asking.scores(1 - chosen), asking.scores(chosen)


def _area(curve: np.ndarray) -> float:
    return float((curve[1:] + curve[:-1]).mean() / 2)
