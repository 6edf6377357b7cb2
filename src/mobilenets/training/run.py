"""The Run: the folder that a training leaves and that everything after it reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arch.spec import Spec
from ..errors import UserError
from ..nn.network import Network, build_network
from .checkpoint import load_network_, load_tensors

SPEC, LABELS, RECIPE, METRICS, EVALUATION, DECISION = (
    "spec.json",
    "labels.json",
    "recipe.json",
    "metrics.jsonl",
    "evaluation.json",
    "decision.json",
)
RANGE_TEST = ("find_lr.json", "find_lr.png")  # of `train --find-lr`; may lie in a folder before its Run is begun
QUANTISATION = "quantisation.json"  # of a Run that `quantize` made: what was done and measured
PRUNING = "pruning.json"  # of a Run that `prune` made: the search, and what it saved
REPORT = "report.html"
BEST, LAST = "checkpoints/best.safetensors", "checkpoints/last.safetensors"


@dataclass(frozen=True)
class Run:
    """A Run folder opened for reading.

    `labels` has one dictionary for each class, in the order of the logits: `name`, and `index` and `wnid` where the
    data gave them. `recipe` holds the task, the arguments, all settings, and what is known of the data.
    """

    path: Path
    spec: Spec
    labels: list[dict[str, Any]]
    recipe: dict[str, Any]

    @property
    def decision(self) -> dict[str, Any] | None:
        """What was fitted on the selection images, see `tasks.calibration.fit_decision`; None where nothing was."""
        path = self.path / DECISION
        if not path.is_file():
            return None
        found = read_json(path)
        if not isinstance(found, dict) or not {"temperature", "images", "thresholds"} <= found.keys():
            raise UserError(f"{path}: not what `train` writes; remove it and run the same `train` again")
        return found

    def network(self) -> Network:
        """The network with its best weights, in evaluation mode. Raises UserError when they are missing or broken."""
        path = self.path / BEST
        tensors, _ = load_tensors(path)
        network = build_network(self.spec)
        load_network_(network, tensors, path)
        return network.eval()


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether the folder looks like a Run."""
    return (Path(path) / SPEC).is_file() and (Path(path) / RECIPE).is_file()


def open_run(path: str | os.PathLike[str]) -> Run:
    """The Run in that folder. Raises UserError, one line, when a file is missing or broken."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{path}: no such run folder")
    labels = read_json(folder / LABELS)
    if not isinstance(labels, list) or not all(isinstance(row, dict) and "name" in row for row in labels):
        raise UserError(f"{folder / LABELS}: not a list of class labels")
    return Run(folder, Spec.from_json(read_json(folder / SPEC)), labels, read_json(folder / RECIPE))


def selection_key(row: dict[str, Any]) -> tuple[float, float]:
    """What the best epoch has most of: selection top-1, then lower loss. `row` is a line of metrics.jsonl."""
    return row["val_top1"], -row.get("val_loss", 0.0)


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises UserError naming the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
