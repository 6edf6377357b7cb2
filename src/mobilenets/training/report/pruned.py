"""What pruning cut, and what it saved."""

from __future__ import annotations

from typing import Any

from .bars import bar
from .facts import Facts
from .figures import interval, percent, plural
from .html import Child, Markup, section, table, tag


def pruned(facts: Facts) -> Markup:
    """The section of pruning; empty where the Run is not pruned."""
    found = facts.pruning
    if found is None:
        return Markup()
    cards: list[Child] = [tag("div.card", tag("h3", "Before and after"), _saved(found))]
    if found["steps"]:
        cards.append(tag("div.card", tag("h3", "Step by step"), _steps(found)))
    what = "the selection images after a short training; the training at the end is in the curves"
    note = (
        "A step cuts some groups of channels, or blocks; they are numbered as they are at that step. "
        f"Top-1 of a step: {what}."
    )
    return section("pruned", "Pruning", tag("p.lead", _lead(found)), cards, tag("p.quiet", note))


def _lead(found: dict[str, Any]) -> list[Child]:
    original, report = found["original"], found["report"]
    said: list[Child] = [
        f"Cut to {percent(found['keep'])} of the {'latency' if found['latency'] else 'multiply-adds'}. It scores ",
        tag("b", percent(report["top1"])),
        f" ({interval(*report['top1_interval'])}), the original {percent(original['top1'])} "
        f"({interval(*original['top1_interval'])}), on {plural(report['images'], 'image')}.",
    ]
    if not found["ok"]:
        said.append(" Its exported file is slower than asked.")
    return said


def _saved(found: dict[str, Any]) -> Markup:
    rows = [
        (name, f"{found[key]['before'] / 1e6:.2f} M", _left(f"{found[key]['after'] / 1e6:.2f} M", found[key]))
        for key, name in (("macs", "Multiply-adds"), ("params", "Parameters"))
    ]
    if found["latency"]:
        took = {"before": found["latency"]["before_ms"], "after": found["latency"]["after_ms"]}
        name = f"{found['target']}, float32, {plural(found['threads'], 'thread')}"
        rows.append((name, f"{took['before']:.2f} ms", _left(f"{took['after']:.2f} ms", took)))
    return table(("", "Original", "Pruned"), rows, style="names")


def _left(words: str, both: dict[str, float]) -> Markup:
    return bar(f"{words}, {percent(both['after'] / both['before'])}", both["after"] / both["before"], "first")


def _steps(found: dict[str, Any]) -> Markup:
    whole = found["latency"]["before_ms"] if found["latency"] else found["macs"]["before"] / 1e6
    body = [
        (
            [_cut(name, channels) for name, channels in row["cuts"]],
            bar(percent(row["measured"] / whole), row["measured"] / whole, "second"),
            percent(row["top1"]),
        )
        for row in found["steps"]
    ]
    return table(("Groups and their channels", "Left of the whole", "Top-1"), body, style="names")


def _cut(name: str, channels: int) -> Markup:
    return tag("div", tag("code", name), f" {channels}" if channels else " gone")
