"""Where the Run comes from: data, settings, versions, and the command that repeats it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from .bars import parts_of_whole
from .facts import Facts
from .figures import ABSENT, count
from .html import Child, Markup, section, tag, terms

ROLES = (("train", "trained on", "second"), ("selection", "selected by", "first"), ("report", "reported", "third"))
FORMS = {"folders": "class folders", "lists": "lists of files", "csv": "a CSV of files"}


def data(facts: Facts) -> Markup:
    """The section of the data: form, counts, notes, fingerprint."""
    known = facts.data
    images: Mapping[str, int] = known.get("images") or {}
    names = {"report": f"reported ({known['report_name']})"} if known.get("report_name") else {}
    parts = [(names.get(key, name), images[key], style) for key, name, style in ROLES if key in images]
    legend = [tag("span", tag(f"i.key.{style}"), f"{count(number)} {name}") for name, number, style in parts]
    form = str(known.get("form", ABSENT))
    short: list[tuple[Child, Child]] = [
        ("Images", count(sum(images.values()))),
        ("Classes", count(len(facts.labels))),
        ("Form", FORMS.get(form, form)),
    ]
    long: list[tuple[Child, Child]] = [
        ("Path", tag("code", str(known.get("path", ABSENT)))),
        ("Fingerprint (SHA-256)", tag("code", str(known.get("fingerprint", ABSENT)))),
    ]
    notes = known.get("notes") or []
    return section(
        "data",
        "Data",
        tag(
            "div.card",
            [parts_of_whole(parts), tag("p.legend", legend)] if parts else None,
            terms(short),
            terms(long, "terms.long"),
            [tag("h3", "Notes"), tag("ul.notes", [tag("li", note) for note in notes])] if notes else None,
        ),
    )


def start(facts: Facts) -> Markup | None:
    """The section of the weights that the training began from; None where they were random."""
    known = facts.recipe.get("start")
    if not known:
        return None
    blocks, frozen = known.get("blocks", 0), known.get("frozen_blocks", 0)
    kept = (
        "none"
        if not frozen
        else f"{frozen} of {blocks} blocks" + (", the classifier alone trained" * (frozen == blocks))
    )
    short: list[tuple[Child, Child]] = [
        ("Network", str(known.get("model", ABSENT))),
        ("Their resolution", f"{known.get('resolution', ABSENT)} px"),
        ("Classifier", str(known.get("classifier", ABSENT))),
        ("Frozen", kept),
        ("BatchNorm", str(known.get("batch_norm", ABSENT))),
    ]
    long: list[tuple[Child, Child]] = [
        ("Weights", tag("code", str(known.get("weights", ABSENT)))),
        ("SHA-256 of their numbers", tag("code", str(known.get("sha256", ABSENT)))),
    ]
    return section("start", "Weights it began from", tag("div.card", terms(short), terms(long, "terms.long")))


def teacher(facts: Facts) -> Markup | None:
    """The section of the teacher that the training learnt from; None where there was none."""
    known = facts.recipe.get("teacher")
    if not known:
        return None
    side = known.get("resolution")
    short: list[tuple[Child, Child]] = [
        ("Teacher", str(known.get("recognised", ABSENT))),
        ("It saw", f"{side} px" if side else "the training images as they are"),
        ("Forms", str(known.get("forms", ABSENT))),
    ]
    long: list[tuple[Child, Child]] = [
        ("Named", tag("code", str(known.get("teacher", ABSENT)))),
        ("SHA-256", tag("code", str(known.get("sha256") or ABSENT))),
    ]
    return section("teacher", "Teacher", tag("div.card", terms(short), terms(long, "terms.long")))


def settings(facts: Facts) -> Markup:
    """The section of the recipe: every setting, in the groups of the recipe."""
    groups: dict[str, dict[str, Any]] = {"training": {}}
    for key, value in facts.settings.items():
        if isinstance(value, Mapping):
            groups[key] = dict(value)
        else:
            groups["training"][key] = value
    shape = facts.spec.preprocessing
    groups["input, from the spec"] = {
        "resolution": shape.resolution,
        "resize": shape.resize,
        "crop_fraction": shape.crop_fraction,
        "interpolation": shape.interpolation,
        "mean": shape.mean,
        "std": shape.std,
    }
    cards = [
        tag("div.card", tag("h3", name), terms([(tag("code", k), _value(v)) for k, v in group.items()], "settings"))
        for name, group in groups.items()
        if group
    ]
    return section("settings", "Settings", tag("div.columns", cards))


def reproduce(facts: Facts) -> Markup:
    """The section on how to repeat the Run: the command, what must be the same, versions."""
    versions = facts.recipe.get("versions") or {}
    started = facts.recipe.get("started")
    rows: list[tuple[Child, Child]] = [(tag("code", name), str(version)) for name, version in versions.items()]
    if started:
        rows.append(("begun", str(started).replace("T", " ").replace("+00:00", " UTC")))
    by_clock = _arguments(facts).get("minutes") is not None
    promise = (
        "The clock ended this (--minutes): done again, it sees another number of images or repairs."
        if by_clock
        else "On the same machine, with the same data and versions, it gives the same numbers."
    )
    return section(
        "reproduce",
        "Reproduce",
        tag("div.card", tag("pre", tag("code", command(facts))), tag("p.quiet", promise), terms(rows)),
    )


def command(facts: Facts) -> str:
    """The command line that makes this Run again, ready for a shell."""
    arguments = _arguments(facts)
    if facts.quantisation is not None:
        words = ["mobilenets", "quantize", facts.quantisation["network"]]
    else:
        words = ["mobilenets", "train", str(arguments.get("data", facts.data.get("path", "DATA")))]
        arguments = {name: value for name, value in arguments.items() if name != "data"}
    for key, value in arguments.items():
        if key in ("weights_sha256", "recipe_sha256", "teacher_sha256") or value is None:
            continue
        for value in value if isinstance(value, list) else [value]:  # noqa: B020 - one option for each
            words += ["--" + key.replace("_", "-"), _value(value) if isinstance(value, bool) else str(value)]
    return shlex.join([*words, "--out", os.fspath(facts.path)])


def _arguments(facts: Facts) -> dict[str, Any]:
    """What was asked of `train`, or of `quantize`."""
    found: dict[str, Any] = facts.arguments if facts.quantisation is None else facts.quantisation.get("arguments", {})
    return found


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    return str(value)
