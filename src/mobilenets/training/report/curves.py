"""Learning curves: top-1, loss, learning rate and speed by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .charts import Chart, Line, figure
from .facts import Facts
from .figures import duration, interval, percent, plain, plural, short
from .html import Child, Markup, section, tag

POINTS = 800  # epochs drawn at most


def curves(facts: Facts) -> Markup:
    """The section of the learning curves; a note where no epoch is finished; empty where none will be."""
    rows = _thinned(facts.epochs, facts.best)
    if not rows and facts.quantisation is not None:
        return Markup()
    if not rows:
        return section("curves", "Learning curves", tag("p.note", "No epoch is finished yet."))
    best = facts.best
    mark = (best["epoch"], f"best: epoch {best['epoch']}") if best else None
    hovers = [(row["epoch"], _describe(row)) for row in rows]
    return section(
        "curves",
        "Learning curves",
        tag("p.lead", _lead(facts)),
        tag("div.charts", [figure(*drawn) for drawn in _charts(rows, hovers, mark)]),
        tag("p.quiet", _remark(facts)),
    )


def _charts(
    rows: Sequence[dict[str, Any]], hovers: Sequence[tuple[float, str]], mark: tuple[float, str] | None
) -> list[tuple[str, Chart]]:
    band = [(row["epoch"], *row["val_top1_interval"]) for row in rows if "val_top1_interval" in row]
    top1 = Line("selection, with its 95 % interval", "first", _points(rows, "val_top1"), band)
    losses = [
        Line("training", "second", _points(rows, "train_loss")),
        Line("selection", "first", _points(rows, "val_loss")),
    ]
    whole_percents = max(y for _, y in top1.points) > 0.08 if top1.points else True
    return [
        (
            "Top-1",
            Chart(
                "Top-1 on the selection images by epoch",
                [top1],
                "epoch",
                lambda y: percent(y, 0 if whole_percents else 1).lstrip("<>"),
                hovers,
                mark,
                y_to=1.0,
            ),
        ),
        ("Loss, in nats", Chart("Training and selection loss by epoch", losses, "epoch", plain, hovers, mark)),
        (
            "Learning rate at the epoch’s end",
            Chart(
                "Learning rate by epoch",
                [Line("", "third", _points(rows, "lr"))],
                "epoch",
                plain,
                hovers,
                height=170,
                y_from=0.0,
            ),
        ),
        (
            "Speed, in training images a second",
            Chart(
                "Training speed by epoch",
                [Line("", "third", _points(rows, "images_per_second"))],
                "epoch",
                short,
                hovers,
                height=170,
                y_from=0.0,
            ),
        ),
    ]


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[key] if row.get(key) is not None else math.nan) for row in rows]


def _thinned(rows: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> list[dict[str, Any]]:
    """At most about `POINTS` of the rows, the best and the last among them."""
    stride = -(-len(rows) // POINTS) or 1
    return [row for index, row in enumerate(rows) if index % stride == 0 or row is best or index == len(rows) - 1]


def _describe(row: dict[str, Any]) -> str:
    lines = [f"epoch {row['epoch']}"]
    if "val_top1" in row:
        lines.append(f"selection top-1 {percent(row['val_top1'])}")
        if "val_top1_interval" in row:
            lines[-1] += f" ({interval(*row['val_top1_interval'])})"
    for key, name in (("train_loss", "training loss"), ("val_loss", "selection loss"), ("lr", "learning rate")):
        if row.get(key) is not None:
            lines.append(f"{name} {plain(row[key])}")
    if row.get("images_per_second"):
        lines.append(f"{row['images_per_second']:.0f} images a second")
    if row.get("seconds"):
        lines.append(f"{duration(row['seconds'])} since the start")
    return "\n".join(lines)


def _lead(facts: Facts) -> list[Child]:
    best, done = facts.best, len(facts.epochs)
    if best is None:
        return ["No epoch has a score."]
    if done == 1:
        return ["One epoch is finished; its top-1 is ", tag("b", percent(best["val_top1"])), "."]
    said: list[Child] = [
        "The best of ",
        plural(done, "epoch"),
        " is ",
        tag("b", f"epoch {best['epoch']}"),
        f", with top-1 {percent(best['val_top1'])}",
    ]
    if best.get("val_images"):
        said.append(f" on {plural(best['val_images'], 'selection image')}")
    said.append(".")
    if best["epoch"] == facts.epochs[-1]["epoch"]:
        said.append(" It is the last one: a longer training may reach more.")
    return said


def _remark(facts: Facts) -> str:
    settings = facts.settings
    said = "The training loss is taken on augmented images"
    if settings.get("label_smoothing"):
        said += f" and targets smoothed by {settings['label_smoothing']:g}"
    said += ", so it may lie above the selection loss."
    if any(row.get("ema") for row in facts.epochs):
        said += " Selection scores are of the averaged weights (EMA), which lag at first."
    return said
