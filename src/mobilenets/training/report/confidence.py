"""How far the scores can be believed: the reliability plot, and what is answered at which accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .charts import Chart, Line, figure
from .facts import Facts
from .figures import percent, plain, plural
from .html import Child, Markup, section, tag


def confidence(facts: Facts) -> Markup:
    """The section of calibration and coverage; empty where nothing was scored, or by a version that did not say."""
    found: dict[str, Any] | None = (facts.evaluation or {}).get("calibration")
    if not found:
        return Markup()
    return section(
        "confidence",
        "Confidence",
        tag("p.lead", _lead(found)),
        tag("div.charts", [_reliability(found), _coverage(found)]),
        tag("p.quiet", _remark(facts)),
    )


def _lead(found: dict[str, Any]) -> list[Child]:
    error, before = percent(found["calibration_error"]), percent(found["calibration_error_before"])
    said: list[Child] = ["A score is off by ", tag("b", error), " on average (expected calibration error, 15 bins)"]
    if found["temperature"] is not None:
        said.append(f"; without the temperature {plain(found['temperature'])} by {before}")
    said.append(". ")
    answered = found["answered"]
    if answered is not None:
        said.append(f"Answers with a score below {plain(found['threshold'])} are “unknown”: ")
        said += [tag("b", percent(answered["coverage"])), " of the images are answered"]
        if answered["accuracy"] is not None:
            said += [", ", tag("b", percent(answered["accuracy"])), " of them right"]
        said.append(".")
    return said


def _reliability(found: dict[str, Any]) -> Markup:
    lines = [Line("as it should be", "third", [(0.0, 0.0), (100.0, 1.0)])]
    if found["temperature"] is not None:
        lines.append(Line("without temperature", "second", _bins(found["reliability_before"])))
    lines.append(Line("scores", "first", _bins(found["reliability"])))
    hovers = [(100 * row["confidence"], _bin(row)) for row in found["reliability"]]
    chart = Chart(
        "Accuracy by score",
        lines,
        "score, %",
        lambda y: percent(y, 0).lstrip("<>"),
        hovers,
        y_from=0.0,
        y_to=1.0,
        dots=True,
    )
    return figure("Right answers by score", chart)


def _bins(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(100 * row["confidence"], row["accuracy"]) for row in rows]


def _bin(row: dict[str, Any]) -> str:
    images = plural(row["images"], "image")
    return (
        f"{images} scored {percent(row['low'], 0)} to {percent(row['high'], 0)}\n{percent(row['accuracy'])} are right"
    )


def _coverage(found: dict[str, Any]) -> Markup:
    rows = found["curve"]
    answered = found["answered"]
    mark = None
    if answered is not None and answered["coverage"] > 0:
        mark = (100 * answered["coverage"], f"score {plain(found['threshold'])}")
    chart = Chart(
        "Accuracy of what is answered by the share that is answered",
        [Line("", "first", [(100 * row["coverage"], row["accuracy"]) for row in rows])],
        "answered, %",
        lambda y: percent(y, 0).lstrip("<>"),
        [(100 * row["coverage"], _point(row)) for row in rows],
        mark,
        y_to=1.0,
    )
    return figure("Accuracy of what is answered", chart)


def _point(row: dict[str, Any]) -> str:
    given = f"{percent(row['coverage'])} answered, {percent(row['accuracy'])} right"
    return f"{given}\nscore {plain(row['threshold'])} or more"


def _remark(facts: Facts) -> str:
    said = "Temperature and threshold were fitted on the selection images; both plots are of the images reported above."
    images = facts.data.get("images", {}).get("selection")
    if images is not None and images < 100:
        said += f" {plural(images, 'selection image')} say little about either."
    return said
