"""What an experiment came to: means, spreads, and its paper's claims with a verdict each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .answers import unpack
from .designs import Cell, Claim, Design
from .plan import Plan
from .plot import draw
from .rows import ROWS
from .verdict import Hits, fit, judge, mean

NOTES = (
    "top-1 is of the reported split, which selection does not see; its interval is 95 % over images, ± over seeds is "
    "their standard deviation",
    "a difference is shown or not shown where it is larger than its 95 % margin, over images and seeds; each margin "
    "stands for itself, so among twenty comparisons one such verdict is expected by chance",
)


def outcome(folder: Path, design: Design, plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The document of `paper --train --json`, from the rows of all trainings. Draws the plot."""
    hits = {cell.name: _hits(cell, rows) for cell in design.cells}
    first = {row["cell"]: row for row in reversed(rows)}
    cells = [_cell(cell, first[cell.name], hits[cell.name]) for cell in design.cells]
    line = fit([cell["macs"] for cell in cells], [cell["top1"] for cell in cells])
    claims = [_claim(design, claim, hits) for claim in design.claims]
    by_cell = {row["cell"]: [r for r in rows if r["cell"] == row["cell"]] for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    how = (
        f"{_passes(plan)}, {_many(len(seeds), 'seed')}; bars: 95 % over {rows[0]['images']:,} {rows[0]['split']} images"
    )
    drawn = draw(design, cells, how, folder)
    return {
        "experiment": design.name,
        "title": design.title,
        "source": design.source,
        "data": plan.asked.data,
        "out": str(folder),
        "full": plan.asked.full,
        "resolution": design.resolution,
        "width": design.base,
        "total_stride": plan.total_stride,
        "recipe": plan.recipe,
        "precision": plan.precision,
        "epochs": plan.epochs,
        "seeds": seeds,
        "split": rows[0]["split"],
        "images": rows[0]["images"],
        "trainings": [
            {key: value for key, value in row.items() if key != "right"}
            for cell in design.cells
            for row in by_cell[cell.name]
        ],
        "cells": cells,
        "claims": claims,
        "fit": None if line is None else {"slope": line[0], "r2": line[1]},
        "notes": [*NOTES, *_price(cells), *_limits(plan, seeds)],
        "files": {"rows": str(folder / ROWS)} | {path.suffix[1:]: str(path) for path in drawn},
    }


def _hits(cell: Cell, rows: list[dict[str, Any]]) -> np.ndarray:
    """(S, N) booleans: the answers of the cell's networks."""
    return np.stack([unpack(row["right"], row["images"]) for row in rows if row["cell"] == cell.name])


def _cell(cell: Cell, row: dict[str, Any], hits: np.ndarray) -> dict[str, Any]:
    found = mean(hits)
    return {
        "cell": cell.name,
        "label": cell.label,
        "line": cell.line,
        "model": cell.model,
        "width": cell.width,
        "resolution": cell.resolution,
        "macs": row["macs"],
        "params": row["params"],
        "top1": found.top1,
        "top1_interval": list(found.interval),
        "spread": found.spread,
        "by_seed": list(found.seeds),
        "paper_top1": cell.paper,
    }


def _claim(design: Design, claim: Claim, hits: Hits) -> dict[str, Any]:
    """The claim judged, with the paper's own difference beside each that it prints."""
    judged = judge(claim, hits)
    paper = [{"paper_difference": design.published(comparison)} for comparison in claim.comparisons]
    return {
        "claim": claim.text,
        "verdict": judged.verdict,
        "comparisons": [one.to_json() | beside for one, beside in zip(judged.differences, paper)],
    }


def _price(cells: list[dict[str, Any]]) -> list[str]:
    """Of two networks, what one costs in terms of the other."""
    if len(cells) != 2:
        return []
    first, second = cells
    macs, params = (first[key] / second[key] for key in ("macs", "params"))
    return [
        f"{first['label']}: {macs:.2f} times the multiply-adds and {params:.2f} times the parameters of "
        f"{second['label']}"
    ]


def _limits(plan: Plan, seeds: list[int]) -> list[str]:
    """What this run of the experiment cannot say."""
    notes = [
        f"every network made {_passes(plan)} over the images under the same schedule; the paper's were trained on "
        "ImageNet until they gained no more, so there small and large ones may stand closer, or the other way round"
    ]
    if len(seeds) == 1:
        notes.append("one seed: margins are over images alone, and what another seed would give is not known")
    return notes


def _passes(plan: Plan) -> str:
    return _many(plan.epochs, "pass", "es")


def _many(count: int, word: str, ending: str = "s") -> str:
    return f"{count} {word}{ending if count > 1 else ''}"
