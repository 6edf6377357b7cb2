"""`evaluate`: what a network scores on labelled images."""

from __future__ import annotations

import os
from typing import Any

from ..data.addresses import address_of
from ..data.dataset import open_dataset
from ..data.matching import map_classes
from ..errors import UserError
from ..tasks.calibration import calibration_report
from ..tasks.classify import classification_report
from .load import load
from .score import choose, score


def evaluate(
    reference: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str | None = None,
    *,
    labels: str | None = None,
) -> dict[str, Any]:
    """Scores a Run, a Bundle or a file of one on labelled images. Returns what `evaluate --json` prints.

    `split` is train, val, test or all; None takes test, else val, else everything, and of the very data that the
    network was trained on the part that was held out for its report. `labels` chooses among label columns.
    Images that cannot be read are listed under `skipped`. Raises UserError when classes do not map.
    """
    loaded = load(reference)
    if not loaded.labels:
        raise UserError(f"{loaded.reference}: ends in features, so it has no classes to evaluate")
    dataset = open_dataset(data, labels=labels, strict=False)
    columns = map_classes(dataset.classes, loaded.labels, loaded.reference)
    choice = choose(dataset, split, loaded)
    found = score(dataset, choice.samples, [loaded.session], loaded.preprocessing, columns, "evaluate")
    logits = found.logits[0]
    report = classification_report(logits / (loaded.temperature or 1.0), found.labels, loaded.names, found.files)
    report["calibration"] = calibration_report(logits, found.labels, loaded.temperature, loaded.threshold)
    head = {
        "network": loaded.reference,
        "recognised": loaded.recognised,
        "data": address_of(dataset.root),
        "split": choice.name,
    }
    return head | report | {"skipped": found.skipped}
