"""`verify`: the parity gate. The same real images through the float network and through every file that ships."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..console import warn
from ..data.addresses import address_of
from ..data.dataset import Dataset, open_dataset
from ..errors import UserError
from ..tasks.classify import wilson
from .bundle import MANIFEST, Bundle, ModelFile, open_bundle
from .load import Loaded, TorchSession, bundle_network, from_bundle
from .runtimes import Session, runtime
from .score import choose, map_classes, score, spread

MIN_IMAGES = 100


@dataclass(frozen=True)
class Gate:
    """What a file has to keep: the share of images with the network's own answer, and the largest error of a logit.

    `max_relative_error` is relative to the largest logit that the network gives.
    """

    agreement: float
    max_relative_error: float


GATES = {"float32": Gate(agreement=0.995, max_relative_error=1e-3)}


def verify(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    images: int | None = 1000,
    labels: str | None = None,
    min_agreement: float | None = None,
    max_relative_error: float | None = None,
) -> dict[str, Any]:
    """Runs every file of a Bundle in its own runtime against the bundle's float network. Returns the `verify` JSON.

    At most `images` of the split are taken, evenly over the classes; fewer than 100 are not enough, and then the answer
    is no. A threshold given replaces the one of every precision. The result is stored in measured.json.
    """
    opened = _opened(Path(bundle))
    if images is not None and images < 1:
        raise UserError(f"images {images} is out of range: allowed is 1 or more")
    dataset = open_dataset(data, labels=labels, strict=False)
    reasons = _altered(opened)
    sessions, broken = _open_files(opened)
    loaded = from_bundle(opened)
    columns = _columns(dataset, loaded)
    choice = choose(dataset, split, loaded)
    samples = spread(choice.samples, images)
    reference = TorchSession(bundle_network(opened))
    found = score(
        dataset,
        samples,
        [reference, *sessions.values()],
        opened.preprocessing,
        columns or [0] * len(dataset.classes),
        "verify",
    )
    truth = None if columns is None else found.labels
    rows = dict(zip(sessions, found.logits[1:]))
    gates = [_gate(model, min_agreement, max_relative_error) for model in opened.models]
    files = [
        _file(model, gate, found.logits[0], rows.get(model.path), truth, broken.get(model.path))
        for model, gate in zip(opened.models, gates)
    ]
    count = len(found.labels)
    if count < MIN_IMAGES:
        reasons.append(f"not enough images: {count}, at least {MIN_IMAGES} are needed")
    result = {
        "ok": not reasons and all(row["ok"] for row in files),
        "bundle": str(bundle),
        "data": address_of(dataset.root),
        "split": choice.name,
        "images": count,
        "skipped": found.skipped,
        "network": _top1(found.logits[0], truth),
        "files": files,
        "reasons": reasons,
    }
    opened.store("verify", result | {"bundle": opened.spec.name, "data": dataset.root.name})
    return result


def _opened(path: Path) -> Bundle:
    if path.is_dir() and not (path / MANIFEST).is_file():
        raise UserError(f"{path}: no bundle, it has no {MANIFEST}; `mobilenets export` writes one")
    return open_bundle(path, check=False)


def _altered(bundle: Bundle) -> list[str]:
    """What is wrong with files that are no model file; without the reference weights nothing can be said at all."""
    parts = {part for model in bundle.models for part in model.parts}
    weights = bundle.weights.relative_to(bundle.path).as_posix()
    problems = [bundle.problem(name) for name in bundle.manifest["files"] if name not in parts and name != weights]
    return [problem for problem in problems if problem]


def _open_files(bundle: Bundle) -> tuple[dict[str, Session], dict[str, str]]:
    """The sessions of the files that are as exported and open, and for the others why not."""
    sessions: dict[str, Session] = {}
    broken: dict[str, str] = {}
    for model in bundle.models:
        problems = [problem for part in model.parts if (problem := bundle.problem(part))]
        if problems:
            broken[model.path] = problems[0]
            continue
        try:
            sessions[model.path] = runtime(model.runtime).open(bundle.path / model.path, None)
        except UserError as error:
            if "is not installed" in str(error):
                raise
            broken[model.path] = str(error)
    return sessions, broken


def _columns(dataset: Dataset, loaded: Loaded) -> list[int] | None:
    """The logit of each class of the data; None, with a warning, where the data has other classes."""
    try:
        return map_classes(dataset.classes, loaded.labels, loaded.reference)
    except UserError as error:
        warn(f"no accuracy, agreement alone: {error}")
        return None


def _gate(model: ModelFile, min_agreement: float | None, max_relative_error: float | None) -> Gate:
    gate = GATES.get(model.precision)
    if gate is None:
        raise UserError(f"{model.path}: no thresholds for precision {model.precision!r}; known: {', '.join(GATES)}")
    return Gate(
        agreement=gate.agreement if min_agreement is None else min_agreement,
        max_relative_error=gate.max_relative_error if max_relative_error is None else max_relative_error,
    )


def _file(
    model: ModelFile,
    gate: Gate,
    expected: np.ndarray,
    logits: np.ndarray | None,
    truth: np.ndarray | None,
    broken: str | None,
) -> dict[str, Any]:
    """The row of one file. A file that could not be run has None for every measurement and the reason."""
    measured: dict[str, Any] = {"top1": None, "top1_interval": None, "drop": None, "agreement": None}
    measured |= dict.fromkeys(("max_abs_error", "max_relative_error", "p999_relative_error"))
    reasons: Sequence[str]
    if logits is None:
        reasons = [broken or "it was not run"]
    elif logits.shape != expected.shape:
        reasons = [f"it gives {logits.shape[1:]} logits, the network {expected.shape[1:]}"]
    elif not np.isfinite(logits).all():
        reasons = ["it gives logits that are not finite"]
    else:
        measured |= _errors(expected, logits) | _top1(logits, truth)
        if truth is not None:
            measured["drop"] = _top1(expected, truth)["top1"] - measured["top1"]
        reasons = _failures(measured, gate)
    return {
        "runtime": model.runtime,
        "precision": model.precision,
        "path": model.path,
        **measured,
        "thresholds": {"agreement": gate.agreement, "max_relative_error": gate.max_relative_error},
        "ok": not reasons,
        "reasons": list(reasons),
    }


def _errors(expected: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Agreement of the answers and errors of the logits; the relative ones over the network's largest logit."""
    error = np.abs(logits.astype(np.float64) - expected)
    largest = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    return {
        "agreement": float((logits.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        "max_abs_error": float(error.max()),
        "max_relative_error": float(error.max()) / largest,
        "p999_relative_error": float(np.quantile(error, 0.999)) / largest,
    }


def _failures(measured: dict[str, Any], gate: Gate) -> list[str]:
    reasons = []
    if measured["agreement"] < gate.agreement:
        reasons.append(
            f"it agrees with the network on {measured['agreement']:.4f} of the images, not {gate.agreement:g}"
        )
    if measured["max_relative_error"] > gate.max_relative_error:
        reasons.append(
            f"a logit is off by {measured['max_relative_error']:.2g} of the largest one, "
            f"more than {gate.max_relative_error:g}"
        )
    return reasons


def _top1(logits: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    if truth is None:
        return {"top1": None, "top1_interval": None}
    correct = int((logits.argmax(axis=1) == truth).sum())
    return {"top1": correct / len(truth), "top1_interval": list(wilson(correct, len(truth)))}
