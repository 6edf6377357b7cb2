"""`verify`: the parity gate. The same real images through the float network and through every file that ships."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.addresses import address_of
from ..data.dataset import open_dataset
from ..errors import UserError
from ..tasks.classify import wilson
from .bundle import MANIFEST, Bundle, ModelFile, open_bundle
from .gates import Gate, gate_of
from .load import TorchSession, bundle_network, from_bundle
from .runtimes import STORED_IN, Session, one_line, runtime
from .score import choose, known_columns, score, spread

MIN_IMAGES = 100


def verify(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    images: int | None = 1000,
    labels: str | None = None,
    min_agreement: float | None = None,
    max_relative_error: float | None = None,
    max_drop: float | None = None,
) -> dict[str, Any]:
    """Runs every file of a Bundle in its own runtime against the bundle's float network. Returns the `verify` JSON.

    At most `images` of the split are taken, evenly over the classes; fewer than 100 are not enough, and then the answer
    is no. A threshold given replaces the one of every precision. A file whose runtime does not run on this machine is
    listed with `ok` None and decides nothing, unless it is not the exported one. The result is stored in measured.json.
    """
    opened = _opened(Path(bundle))
    if images is not None and images < 1:
        raise UserError(f"images {images} is out of range: allowed is 1 or more")
    dataset = open_dataset(data, labels=labels, strict=False)
    reasons = _altered(opened)
    opened_files, broken = _open_files(opened)
    sessions = {path: _Tried(session, opened.spec.head.outputs) for path, session in opened_files.items()}
    loaded = from_bundle(opened)
    columns = known_columns(dataset, loaded)
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
    broken |= {path: f"{path} cannot be run: {tried.problem}" for path, tried in sessions.items() if tried.problem}
    gates = [gate_of(model.precision, min_agreement, max_relative_error, max_drop) for model in opened.models]
    files = [
        _file(opened, model, gate, found.logits[0], rows.get(model.path), truth, broken.get(model.path))
        for model, gate in zip(opened.models, gates)
    ]
    count = len(found.labels)
    if count < MIN_IMAGES:
        reasons.append(f"not enough images: {count}, at least {MIN_IMAGES} are needed")
    result = {
        "ok": not reasons and any(row["ok"] for row in files) and all(row["ok"] in (True, None) for row in files),
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


class _Tried:
    """A session that gives logits of NaN once it has failed to run, and keeps the reason: the other files go on."""

    def __init__(self, session: Session, outputs: int) -> None:
        self.session, self.outputs = session, outputs
        self.problem = ""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        if not self.problem:
            try:
                return self.session.run(images)
            except MemoryError:
                raise
            except Exception as error:  # the runtimes' errors have no class of their own to catch
                self.problem = one_line(error)
        return np.full((len(images), self.outputs), np.nan, np.float32)


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
        chosen = runtime(model.runtime)
        if chosen.elsewhere():
            continue
        try:
            sessions[model.path] = chosen.open(bundle.path / model.path, None)
        except UserError as error:
            if "is not installed" in str(error):
                raise
            broken[model.path] = str(error)
    return sessions, broken


def _file(
    bundle: Bundle,
    model: ModelFile,
    gate: Gate,
    expected: np.ndarray,
    logits: np.ndarray | None,
    truth: np.ndarray | None,
    broken: str | None,
) -> dict[str, Any]:
    """The row of one file. A file that could not be run has None for every measurement and the reason."""
    measured: dict[str, Any] = {"top1": None, "top1_interval": None, "drop": None, "agreement": None}
    measured |= dict.fromkeys(("max_abs_error", "max_relative_error", "p999_relative_error", "stored"))
    classes: list[dict[str, Any]] = []
    reasons: Sequence[str]
    if broken is not None:
        reasons = [broken]
    elif logits is None:
        reasons = [runtime(model.runtime).elsewhere() or "it was not run"]
    elif logits.shape != expected.shape:
        reasons = [f"it gives {logits.shape[1:]} logits, the network {expected.shape[1:]}"]
    elif not np.isfinite(logits).all():
        reasons = ["it gives logits that are not finite"]
    else:
        measured |= _errors(expected, logits) | _top1(logits, truth)
        if truth is not None:
            measured["drop"] = _top1(expected, truth)["top1"] - measured["top1"]
            classes = _class_drops(bundle, expected, logits, truth)
        measured["stored"] = _share_stored(bundle, model)
        reasons = _failures(measured, gate, model.precision)
    return {
        "runtime": model.runtime,
        "precision": model.precision,
        "path": model.path,
        **measured,
        "classes": classes,
        "thresholds": {
            "agreement": gate.agreement,
            "max_relative_error": gate.max_relative_error,
            "max_drop": gate.max_drop,
            "stored": gate.stored,
        },
        "ok": None if broken is None and logits is None else not reasons,
        "reasons": list(reasons),
    }


def _class_drops(bundle: Bundle, expected: np.ndarray, logits: np.ndarray, truth: np.ndarray) -> list[dict[str, Any]]:
    """For each class of the data, the largest drop first: images, what the network and the file get right of them."""
    rows = []
    for label in np.unique(truth):
        own = truth == label
        network = float((expected[own].argmax(axis=1) == label).mean())
        file = float((logits[own].argmax(axis=1) == label).mean())
        name = bundle.labels[int(label)]["name"]
        rows.append({"class": name, "images": int(own.sum()), "network": network, "file": file, "drop": network - file})
    return sorted(rows, key=lambda row: -row["drop"])


def _share_stored(bundle: Bundle, model: ModelFile) -> float | None:
    """The share of a file's weights that it holds in the type its name means; None where its format does not tell."""
    stored = runtime(model.runtime).stored
    if stored is None:
        return None
    counts = stored(bundle.path / model.path)
    return counts.get(STORED_IN.get(model.precision, model.precision), 0) / max(1, sum(counts.values()))


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


def _failures(measured: dict[str, Any], gate: Gate, precision: str) -> list[str]:
    reasons = []
    if measured["agreement"] < gate.agreement:
        reasons.append(
            f"it agrees with the network on {measured['agreement']:.4f} of the images, not {gate.agreement:g}"
        )
    if gate.max_relative_error is not None and measured["max_relative_error"] > gate.max_relative_error:
        reasons.append(
            f"a logit is off by {measured['max_relative_error']:.2g} of the largest one, "
            f"more than {gate.max_relative_error:g}"
        )
    if gate.max_drop is not None and measured["drop"] is not None and measured["drop"] > gate.max_drop:
        reasons.append(f"it loses {100 * measured['drop']:.2f} points of top-1, more than {100 * gate.max_drop:g}")
    if measured["stored"] is not None and measured["stored"] < gate.stored:
        reasons.append(f"it is called {precision}, but holds {measured['stored']:.0%} of its weights so")
    return reasons


def _top1(logits: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    if truth is None:
        return {"top1": None, "top1_interval": None}
    correct = int((logits.argmax(axis=1) == truth).sum())
    return {"top1": correct / len(truth), "top1_interval": list(wilson(correct, len(truth)))}
