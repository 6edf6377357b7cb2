"""What a training begins from: weights that have learnt something else, and how they fit the new data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..arch.spec import Spec
from ..errors import UserError
from .choose import Changes

FREEZE_WORDS = ("none", "all")
_HEAD_ONLY_IGNORES = (  # settings of gradient steps, which fitting a head to cached features has none of
    "batch_size", "accumulate", "sync_bn", "optimizer", "lr", "weight_decay", "label_smoothing", "mixup", "cutmix",
    "progressive", "layer_decay", "unfreeze",
)  # fmt: skip

_HEAD_ONLY_SETS = ("augmentation.", "train_resolution=", "store=", "tuning.")  # what fitting a head does go by


@dataclass(frozen=True)
class Start:
    """Weights to begin from. `labels` has one dictionary for each logit; `sha256` is of spec, names and numbers."""

    name: str
    spec: Spec
    state: dict[str, Tensor]
    labels: list[dict[str, Any]]
    sha256: str

    @property
    def folded(self) -> bool:
        """Whether BatchNorm is folded into the convolutions."""
        return self.spec.norm.kind == "none"


def make_start(name: str, spec: Spec, state: dict[str, Tensor], labels: list[dict[str, Any]]) -> Start:
    """The Start of a network's state, with the hash that tells on a resume whether the weights are the same."""
    digest = hashlib.sha256(repr(spec.to_json()).encode())
    digest.update(repr([row["name"] for row in labels]).encode())
    for key in sorted(state):
        digest.update(f"{key} {tuple(state[key].shape)} {state[key].dtype}".encode())
        digest.update(state[key].detach().cpu().contiguous().numpy().tobytes())
    return Start(name, spec, state, labels, digest.hexdigest())


def kept_rows(start: Start, names: Sequence[str]) -> list[int] | None:
    """Which of the classifier's rows stand for the classes `names`, where they are the same; None where not.

    The order may differ; a background output in front is left out.
    """
    if not start.spec.head.classes:
        return None
    first = int(start.spec.head.background)
    known = [row["name"] for row in start.labels]
    if sorted(known[first:]) != sorted(names) or len(set(names)) != len(names):
        return None
    return [known.index(name, first) for name in names]


def check_tuning(changes: Changes) -> None:
    """Raises UserError, one line, for settings of a training from weights that contradict each other."""
    if changes.freeze == "all":
        for name in _HEAD_ONLY_IGNORES:
            value = getattr(changes, name)
            if value is not None:
                raise UserError(
                    f"{name.replace('_', ' ')} {value} contradicts freeze all, which fits the classifier alone to "
                    "cached features, without steps: leave one of the two out"
                )
        for pair in changes.set or ():
            if not pair.startswith(_HEAD_ONLY_SETS):
                raise UserError(
                    f"--set {pair} contradicts freeze all, which fits the classifier alone to cached features, without "
                    "steps: leave one of the two out"
                )
        if changes.norm_stats == "train":
            raise UserError(
                "norm stats train contradicts freeze all, which trains no BatchNorm; allowed: keep, refresh"
            )


def check_fits(start: Start, model: Spec | None, width: float | None, changes: Changes) -> None:
    """Raises UserError, one line, where the weights' network contradicts what else was asked for.

    `model` is the Spec of the model that was named beside the weights, if any.
    """
    spec = start.spec
    if model is not None and model.name != spec.name:
        raise UserError(f"model {model.name} contradicts the weights {start.name}, a {spec.name}: leave --model out")
    if model is None and width is not None and width != spec.width:
        raise UserError(f"width {width:g} contradicts the weights {start.name}, of width {spec.width:g}: leave it out")
    if spec.in_channels != 3:
        raise UserError(f"{start.name}: a network for {spec.in_channels} channels; training reads RGB, 3 channels")
    taps = [tap.name for tap in spec.taps]
    if changes.freeze not in (None, *FREEZE_WORDS, *taps):
        raise UserError(f"unknown freeze {changes.freeze!r}; allowed for {spec.name}: none, all, {', '.join(taps)}")


def classifier_note(start: Start, classes: int, rows: list[int] | None) -> str:
    """What becomes of the classifier, in words."""
    before = f"{start.spec.head.classes} classes" if start.spec.head.classes else "none"
    return f"{before}, kept" if rows is not None else f"{before} -> {classes}, fresh"


def without_folding(spec: Spec) -> Spec:
    """`spec` with BatchNorm where it was folded in."""
    return replace(spec, norm=replace(spec.norm, kind="batch"))
