"""Precision, recall and F1 of every class, the weakest first where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bars import bar
from .facts import Facts
from .figures import count, percent, plural
from .html import Child, Markup, details, section, table, tag

WHOLE, WEAKEST = 30, 20  # classes up to which all are shown at once; shown first where there are more


def per_class(facts: Facts) -> Markup:
    """The section of precision, recall and F1 by class; empty where nothing was scored."""
    evaluation = facts.evaluation
    rows: list[dict[str, Any]] = (evaluation or {}).get("per_class") or []
    if not rows:
        return Markup()
    body: list[Child] = [tag("p.lead", _weakest(rows))]
    if len(rows) <= WHOLE:
        body.append(tag("div.card", _class_table(rows)))
    else:
        ordered = sorted(rows, key=lambda row: (not row["images"], row["f1"], -row["images"]))
        shown, rest = ordered[:WEAKEST], ordered[WEAKEST:]
        more = details(f"The other {len(rest)} classes", _class_table(rest))
        body.append(tag("div.card", tag("h3", f"The {WEAKEST} weakest"), _class_table(shown), more))
    return section("classes", "By class", body)


def _weakest(rows: Sequence[dict[str, Any]]) -> list[Child]:
    counted = [row for row in rows if row["images"]]
    absent = len(rows) - len(counted)
    said: list[Child] = []
    if counted:
        weakest = min(counted, key=lambda row: (row["f1"], -row["images"]))
        found = f"{percent(weakest['recall'])} of its {plural(weakest['images'], 'image')} found"
        said = ["Weakest: ", tag("b", weakest["label"]), f", F1 {percent(weakest['f1'])}, {found}."]
        never = sum(row["recall"] == 0 for row in counted)
        if never > 1:
            said.append(f" {never} of {plural(len(counted), 'class', 'classes')} were never recognised.")
    if absent:
        said.append(f" {plural(absent, 'class has', 'classes have')} no image in this split.")
    return said


def _class_table(rows: Sequence[dict[str, Any]]) -> Markup:
    most = max((row["images"] for row in rows), default=0) or 1
    body = [
        (
            row["label"],
            bar(count(row["images"]), row["images"] / most, "third"),
            *(
                bar(percent(row[key] if row["images"] else None), row[key] if row["images"] else 0.0)
                for key in ("precision", "recall", "f1")
            ),
        )
        for row in rows
    ]
    return table(("Class", "Images", "Precision", "Recall", "F1"), body, style="names classes")
