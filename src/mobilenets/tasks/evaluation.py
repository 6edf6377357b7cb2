"""What a Run keeps of the one time that its reported split is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .calibration import KEPT, calibration_report, chosen_threshold
from .classify import classification_report


def evaluation(
    logits: np.ndarray, labels: np.ndarray, names: Sequence[str], files: Sequence[str], decision: dict[str, Any]
) -> dict[str, Any]:
    """The scores of logits (N, C) by what was fitted on the selection images (`decision`), and how far to trust them.

    `labels` (N,), `names` of the C classes, `files` of the N images.
    """
    temperature = decision["temperature"]
    scores = classification_report(logits / temperature, labels, names, files)
    chosen = chosen_threshold(decision["thresholds"], KEPT)
    believed = calibration_report(logits, labels, temperature, None if chosen is None else chosen["threshold"])
    return scores | {"calibration": believed}
