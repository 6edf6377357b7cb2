"""The top of the report: how good the network is, how sure that is, and what the network costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .bars import scale
from .facts import Facts
from .figures import count, duration, interval, percent, plural, short
from .html import Child, Markup, join, tag


def heading(facts: Facts) -> Markup:
    """The page's title: network and data."""
    return tag("h1", _breakable(facts.spec.name), " ", tag("small", "on ", _breakable(data_name(facts))))


def _breakable(name: str) -> list[Child]:
    """The name with a place to break after each underscore."""
    first, *rest = name.split("_")
    return [first, *([join(["_", tag("wbr"), part]) for part in rest])]


def data_name(facts: Facts) -> str:
    """The last part of the data's path."""
    path = str(facts.data.get("path", ""))
    return Path(path).name or path or "unknown data"


def verdict(facts: Facts) -> Markup:
    """The score with its interval beside the tiles of what it costs; says so where nothing is scored yet."""
    score = _unscored(facts) if facts.evaluation is None else _scored(facts, facts.evaluation)
    return tag("section#verdict.verdict", tag("div.score", score), tag("div.tiles", _tiles(facts)))


def _scored(facts: Facts, evaluation: dict[str, Any]) -> list[Child]:
    low, high = evaluation["top1_interval"]
    images, split = evaluation["images"], evaluation.get("split", "report")
    right = round(evaluation["top1"] * images)
    common = _commonest(evaluation)
    lines: list[Child] = [
        tag("p.eyebrow", "Top-1 on the ", tag("b", split), " split"),
        tag("p.number", percent(evaluation["top1"])),
        scale(evaluation["top1"], low, high, common and common[1]),
        tag(
            "p",
            f"{count(right)} of {plural(images, 'image')} right. With 95{chr(160)}% confidence the true rate lies in ",
            tag("b", interval(low, high)),
            ".",
        ),
    ]
    if common is not None:
        name, rate = common
        lines.append(tag("p.quiet", tag("i.key.baseline"), f"{percent(rate)}: always answering “{name}”"))
    lines.append(tag("p.quiet", _selected(facts)))
    return lines


def _commonest(evaluation: dict[str, Any]) -> tuple[str, float] | None:
    """The class with the most images and its part of them: what an answer without looking scores."""
    rows = evaluation.get("per_class") or []
    total = sum(row["images"] for row in rows)
    if not total:
        return None
    row = max(rows, key=lambda row: row["images"])
    return row["label"], row["images"] / total


def _unscored(facts: Facts) -> list[Child]:
    later = tag("p", "The ", tag("b", facts.data.get("report_name", "reported")), " split is scored once, at the end.")
    best = facts.best
    if best is None:
        return [tag("p.eyebrow", "Not scored yet"), tag("p", "No epoch is finished yet."), later]
    done = f"{len(facts.epochs)} of {facts.planned}" if facts.planned else f"{len(facts.epochs)}"
    low, high = best.get("val_top1_interval") or (best["val_top1"], best["val_top1"])
    return [
        tag("p.eyebrow", "Not scored yet; the best ", tag("b", "selection"), " top-1 so far"),
        tag("p.number.pending", percent(best["val_top1"])),
        scale(best["val_top1"], low, high, None),
        tag("p", f"After {done} epochs: ", _selection_score(best), ", reached in epoch ", best["epoch"], "."),
        later,
        tag("p.quiet", "Epochs are chosen by their selection score, so it is a little too high."),
    ]


def _selection_score(row: dict[str, Any]) -> list[Child]:
    score = tag("b", percent(row["val_top1"]))
    if "val_top1_interval" not in row:
        return [score]
    return [
        score,
        " (",
        tag("span.rate", interval(*row["val_top1_interval"])),
        f", {plural(row['val_images'], 'image')})",
    ]


def _selected(facts: Facts) -> list[Child]:
    best = facts.best
    if best is None:
        return ["These images were scored once."]
    return [
        "These images were scored once, at the end. "
        f"Epoch {best['epoch']} of {len(facts.epochs)} was chosen on others: top-1 ",
        _selection_score(best),
        ".",
    ]


def _tiles(facts: Facts) -> list[Markup]:
    cost, evaluation = facts.cost, facts.evaluation
    tiles = []
    if evaluation is not None:
        if evaluation.get("top5") is not None and len(evaluation.get("per_class", ())) > 5:
            tiles.append(_tile(percent(evaluation["top5"]), "top-5"))
        else:
            tiles.append(_tile(percent(evaluation["recall"]), "recall, mean over classes"))
        tiles.append(_tile(percent(evaluation["f1"]), "F1, mean over classes"))
    attention = f" + {short(cost.macs_attention)} in attention" if cost.macs_attention else ""
    tiles += [
        _tile(short(cost.macs), f"multiply-adds{attention}", count(cost.macs)),
        _tile(short(cost.params), "parameters" + ", branches folded" * bool(facts.spec.reparam), count(cost.params)),
        _tile(
            short(cost.bytes_float32, "B"),
            f"weights in float32; {short(cost.bytes_int8, 'B')} in int8",
            f"{count(cost.bytes_float32)} bytes",
        ),
        _tile(
            short(cost.activation_bytes, "B"),
            f"peak activations in float32; {short(cost.activation_bytes_int8, 'B')} in int8",
            f"{count(cost.activation_bytes)} bytes, at {cost.peak_layer}",
        ),
        _tile(f"{facts.spec.resolution}{chr(160)}px", f"input; {plural(len(facts.labels), 'class', 'classes')}"),
    ]
    if facts.seconds is not None:
        tiles.append(_tile(duration(facts.seconds), f"training, {plural(len(facts.epochs), 'epoch')}"))
    if facts.images_per_second is not None:
        tiles.append(_tile(f"{short(facts.images_per_second, '/s').replace(chr(160) + '/', '/')}", "training images"))
    return tiles


def _tile(value: str, name: str, exact: str | None = None) -> Markup:
    return tag("div.tile", tag("b", value), tag("span", name), at={"title": exact})
