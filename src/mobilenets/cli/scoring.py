"""`evaluate` and `predict`: what a network answers, with the truth and without it."""

from __future__ import annotations

from typing import Any

from .. import console
from . import output
from .output import Answer

SHOWN_MISTAKES = 5


def evaluate(network: str, data: str, /, *, split: str | None = None, labels: str | None = None) -> Answer:
    """Scores a network on labelled images: accuracy with its interval, each class, what is confused with what.

    Args:
        network: a Run, a Bundle, or a model file inside a bundle, which then runs in its own runtime
        data: labelled images in any form that `train` reads
        split: train, val, test or all; left out: test, else val, else all, and of the data that the network was
            trained on the part that was held out
        labels: which label column to score where the data has several
    """
    from ..deploy.evaluate import evaluate as evaluate_network

    result = evaluate_network(network, data, split, labels=labels)

    def show() -> None:
        _show_classes(result["per_class"])
        top5 = "" if result["top5"] is None else f", top-5 {output.percent(result['top5'])}"
        output.line("")
        output.line(f"top-1        {output.percent(result['top1'], result['top1_interval'])}{top5}")
        output.line(
            f"macro        precision {output.percent(result['precision'])}, recall {output.percent(result['recall'])}, "
            f"F1 {output.percent(result['f1'])}"
        )
        output.line(f"images       {output.count(result['images'])} ({result['split']})")
        _show_calibration(result["calibration"])
        for mistake in result["mistakes"][:SHOWN_MISTAKES]:
            output.line(
                f"mistaken     {mistake['file']}: {mistake['label']} taken for {mistake['predicted']} "
                f"({output.percent(mistake['score'])})"
            )

    return Answer(result, show)


def _show_calibration(found: dict[str, Any]) -> None:
    """How far scores can be believed, and what the threshold leaves."""
    error = output.percent(found["calibration_error"])
    if found["temperature"] is None:
        output.line(f"calibration  error {error}; no temperature was fitted")
    else:
        before = output.percent(found["calibration_error_before"])
        output.line(f"calibration  error {error}, {before} without the temperature {found['temperature']:.2f}")
    answered = found["answered"]
    if answered is not None:
        right = "" if answered["accuracy"] is None else f", {output.percent(answered['accuracy'])} of them right"
        output.line(
            f"answered     {output.percent(answered['coverage'])} (score {found['threshold']:.4f} or more){right}"
        )


def _show_classes(rows: list[dict[str, Any]]) -> None:
    """The table of classes; of many, those with the lowest F1."""
    shown = (
        rows if len(rows) <= output.SHOWN_CLASSES else sorted(rows, key=lambda row: row["f1"])[: output.SHOWN_CLASSES]
    )
    output.table(
        ["class", ">images", ">precision", ">recall", ">F1"],
        [
            [row["label"], row["images"], *(output.percent(row[key]) for key in ("precision", "recall", "f1"))]
            for row in shown
        ],
    )
    if len(shown) < len(rows):
        output.line(f"the {len(shown)} of {len(rows)} classes with the lowest F1; --json has all")


def predict(network: str, source: tuple[str, ...], /, *, top: int = 5) -> Answer:
    """Says what pictures show: the likeliest classes of each with their probabilities.

    Below the score that the network's threshold asks for the answer is "unknown".

    Args:
        network: a Run, a Bundle, or a model file inside a bundle, which then runs in its own runtime
        source: pictures: files, folders with all below them, patterns such as 'new/*.jpg', .zip or .tar archives
        top: how many classes to give for each picture
    """
    from ..deploy.predict import predict as predict_pictures

    rows = predict_pictures(network, source, top)

    def show() -> None:
        for row in rows:
            if "error" in row:
                console.warn(f"{row['source']}: {row['error']}")
        output.table(
            ["picture", "class", ">score", "then"],
            [_shown(row) for row in rows if row["predictions"]],
        )

    return Answer(rows, show)


def _shown(row: dict[str, Any]) -> list[str]:
    first, *others = row["predictions"]
    if row["unknown"]:
        first, others = {"label": "unknown", "score": first["score"]}, row["predictions"]
    then = ", ".join(f"{other['label']} {output.percent(other['score'])}" for other in others)
    return [row["source"], first["label"], output.percent(first["score"]), then]
