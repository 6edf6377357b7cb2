"""What MLflow is told of a Run: its settings as flat parameters, its rows and scores as metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..arch.cost import cost
from ..arch.spec import Spec
from .run import RECIPE, SPEC, read_json, selection_key

LONGEST = 6000  # characters of a parameter's value that MLflow keeps
_SCORES = ("top1", "top5", "precision", "recall", "f1", "loss", "images")


def parameters(run: Path) -> dict[str, str]:
    """The settings of a Run by name: all that recipe.json states (`arguments.…`, `recipe.…`, `data.…`), and `model.…`.

    What was left out is no parameter, and the time at which the Run was begun is none.
    """
    stated = read_json(run / RECIPE)
    spec = Spec.from_json(read_json(run / SPEC))
    whole = cost(spec)
    model = {
        "name": spec.name,
        "resolution": spec.resolution,
        "classes": spec.head.classes,
        "blocks": len(spec.blocks),
        "params": whole.params,
        "macs": whole.macs,
        "activation_bytes": whole.activation_bytes,
    }
    named = {name: value for name, value in stated.items() if name != "started"}
    return {name: text[:LONGEST] for name, text in _flat(named | {"model": model}, "")}


def epoch_metrics(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics.jsonl; of an interval its ends, `…_low` and `…_high`."""
    return _numbers({name: value for name, value in row.items() if name not in ("epoch", "step", "ema")})


def final_metrics(evaluation: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The scores on the reported split as `report_…`, and the epoch that was selected as `best_…`."""
    report = {f"report_{name}": evaluation[name] for name in (*_SCORES, "top1_interval") if name in evaluation}
    best = max(rows, key=selection_key)
    selected = {f"best_{name}": best[name] for name in ("epoch", "val_top1", "val_top1_interval", "val_loss")}
    return _numbers(report | selected)


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if name.endswith("_interval"):
            stem = name.removesuffix("_interval")
            found |= {f"{stem}_low": float(value[0]), f"{stem}_high": float(value[1])}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """(name, text) of every setting below; what is left out (None) is none, a list is JSON."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat(below, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value)
