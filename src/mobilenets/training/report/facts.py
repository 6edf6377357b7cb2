"""What the report is made from: the Run's files, read once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arch.cost import Cost, cost
from ...arch.spec import Spec
from ...errors import UserError
from ..run import EVALUATION, METRICS, PRUNING, QUANTISATION, open_run, read_json, selection_key


@dataclass(frozen=True)
class Facts:
    """A Run as its report sees it. `epochs` are the rows of metrics.jsonl; `evaluation` is None until it is written."""

    path: Path
    spec: Spec
    labels: list[dict[str, Any]]
    recipe: dict[str, Any]
    epochs: list[dict[str, Any]]
    evaluation: dict[str, Any] | None
    cost: Cost
    quantisation: dict[str, Any] | None = None  # of a quantised Run: what was done and measured
    pruning: dict[str, Any] | None = None  # of a pruned Run: the same

    @property
    def arguments(self) -> dict[str, Any]:
        """What the user asked of `train`."""
        return self.recipe.get("arguments") or {}

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the recipe."""
        return self.recipe.get("recipe") or {}

    @property
    def data(self) -> dict[str, Any]:
        """What the Run knows of its data, of a quantised one what it was calibrated and scored with."""
        known: dict[str, Any] = self.recipe.get("data") or {}
        if self.quantisation is None or str(known.get("path")) == self.quantisation["data"]:
            return known
        return {"path": self.quantisation["data"]} | self.quantisation.get("known", {})

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch that training selected: the highest top-1, then the lowest loss, then the first."""
        scored = [row for row in self.epochs if math.isfinite(row.get("val_top1", math.nan))]
        return max(scored, key=selection_key) if scored else None

    @property
    def seconds(self) -> float | None:
        """Seconds of training up to the last epoch, validation included."""
        return self.epochs[-1].get("seconds") if self.epochs else None

    @property
    def images_per_second(self) -> float | None:
        """Training images a second over all epochs, which have the same number of images each."""
        speeds = [row["images_per_second"] for row in self.epochs if row.get("images_per_second")]
        return len(speeds) / sum(1 / speed for speed in speeds) if speeds else None

    @property
    def planned(self) -> int | None:
        """Epochs that were asked for; None where the clock ends the training."""
        asked = self.settings.get("epochs")
        by_clock = self.arguments.get("minutes") is not None and self.arguments.get("epochs") is None
        return None if by_clock else asked


def read_facts(run: Path) -> Facts:
    """Everything the report needs of a Run. Raises UserError when a file is missing or broken.

    `metrics.jsonl` and `evaluation.json` may be absent: the training is not that far yet.
    """
    opened = open_run(run)
    evaluation = read_json(run / EVALUATION) if (run / EVALUATION).exists() else None
    return Facts(
        path=run,
        spec=opened.spec,
        labels=opened.labels,
        recipe=opened.recipe,
        epochs=_read_lines(run / METRICS),
        evaluation=evaluation,
        cost=cost(opened.spec),
        quantisation=read_json(run / QUANTISATION) if (run / QUANTISATION).exists() else None,
        pruning=read_json(run / PRUNING) if (run / PRUNING).exists() else None,
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not valid JSON ({error})") from None
    return rows
