"""What int8 cost: what was tried, and which layers the error comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bars import bar
from .facts import Facts
from .figures import interval, percent, plural
from .html import Child, Markup, details, section, table, tag

SHOWN = 12  # layers that are shown at once, the worst first


def int8(facts: Facts) -> Markup:
    """The section of quantisation; empty where the Run is not quantised."""
    found = facts.quantisation
    if found is None:
        return Markup()
    layers: list[dict[str, Any]] = found["layers"]
    worst = sorted(layers, key=lambda row: row["sqnr_only_db"])
    most = max((row["sqnr_only_db"] for row in layers), default=1.0)
    cards: list[Child] = [tag("div.card", tag("h3", "What was tried"), _tried(found))]
    if layers:
        rest = worst[SHOWN:]
        more = details(f"The other {plural(len(rest), 'layer')}", _layers(rest, most)) if rest else ""
        cards.append(tag("div.card", tag("h3", "Where the error comes from"), _layers(worst[:SHOWN], most), more))
    return section(
        "int8",
        "int8",
        tag("p.lead", _lead(found)),
        cards,
        tag(
            "p.quiet",
            "SQNR: signal to quantisation noise of the logits in dB; 6 dB more is half the error. A layer stands for "
            "its weight and the activations up to the next one. Measured on up to 64 selection images, which are not "
            "those that are reported.",
        ),
    )


def _lead(found: dict[str, Any]) -> list[Child]:
    same = percent(found["agreement"])
    said: list[Child] = []
    if found["top1_int8"] is not None:
        low, high = found["top1_int8_interval"]
        said += [
            "int8 scores ",
            tag("b", percent(found["top1_int8"])),
            f" ({interval(low, high)}), float {percent(found['top1_float'])}, on {plural(found['images'], 'image')}. ",
        ]
    said.append(f"The answer is the float network’s on {same} of them; made with {found['repair']['words']}.")
    if found["int8_macs"] < 1:
        said.append(f" {percent(found['int8_macs'])} of the multiply-adds are int8.")
    if not found["ok"]:
        said.append(
            f" Out of bounds: at most {percent(found['max_drop'])} of top-1 may be lost on the selection images, "
            "and at least 95 % of the answers have to be the same."
        )
    return said


def _tried(found: dict[str, Any]) -> Markup:
    rows = found["tried"]
    chosen = found["repair"]["words"]
    most = max(row["sqnr_db"] for row in rows)
    heads = ["Repairs", "SQNR", "Top-1", "Same answers"]
    body = [
        [
            tag("b", row["words"]) if row["words"] == chosen else row["words"],
            _decibel(row["sqnr_db"], most, "first"),
            percent(row["top1"]),
            percent(row["agreement"]),
        ]
        for row in rows
    ]
    if any(row["int8_macs"] < 1 for row in rows):
        heads.append("int8 MACs")
        body = [[*cells, percent(row["int8_macs"])] for cells, row in zip(body, rows)]
    return table(heads, body, style="names")


def _layers(rows: Sequence[dict[str, Any]], most: float) -> Markup:
    body = [
        (
            _name(row["layer"]),
            _decibel(row["sqnr_only_db"], most, "first"),
            percent(row["top1_only"]),
            _decibel(row["sqnr_without_db"], most, "second"),
            percent(row["top1_without"]),
        )
        for row in rows
    ]
    return table(("Layer", "Only it rounds", "Top-1", "All but it", "Top-1"), body, style="names")


def _decibel(value: float, most: float, style: str) -> Markup:
    return bar(f"{value:.1f} dB", value / max(most, 1e-9), style)


def _name(layer: str) -> Markup:
    """A layer's name, which a narrow page may break after each dot."""
    first, *rest = layer.split(".")
    return tag("code", first, [[".", tag("wbr"), part] for part in rest])
