"""What happens before the first step: the folder is claimed, the network chosen, what is known written down."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..arch.cost import cost
from ..arch.registry import create_spec
from ..arch.spec import Profile, Spec
from ..atomic import write_json
from ..console import say
from ..data.dataset import Dataset
from ..data.roles import Roles
from ..errors import UserError
from .choose import Changes
from .distillation import Teaching
from .freeze import first_trained
from .lesson import Lesson
from .precision import FLOAT32, Precision
from .recipe import Recipe
from .run import LABELS, QUANTISATION, RANGE_TEST, RECIPE, SPEC, is_run, read_json
from .start import Start, classifier_note, kept_rows

SMALL_PICTURES = {48: 8, 96: 16}  # up to this resolution: this total stride in place of 32
SLOW_NORM = 0.01  # BatchNorm's momentum below which a short training ends before the statistics settle


@dataclass(frozen=True)
class Arguments:
    """What a user asked of `train`; the same arguments again go on with the same Run."""

    data: str
    model: str | None  # None: the weights' own
    labels: str | None
    minutes: float | None
    resolution: int | None
    width: float | None
    total_stride: int | None
    seed: int
    recipe: str
    changes: Changes
    device: str
    precision: str
    weights: str | None = None
    weights_sha256: str | None = None  # of what the weights were, see `start.make_start`
    teaching: Teaching = field(default_factory=Teaching)
    recipe_sha256: str | None = None  # of the file that `recipe` names
    profile: Profile | None = None  # of a network that is built anew, see `arch.profiles`; None: `default`
    reparam: int | None = None  # branches of a network that is built anew, see `nn.reparam`; None: none

    def to_json(self) -> dict[str, Any]:
        """Flat plain data: the parts stand beside the rest, under the names of the command line."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("changes", "teaching")}
        return own | asdict(self.changes) | asdict(self.teaching)


def claim(run: Path, arguments: Arguments, *, restart: bool) -> None:
    """Makes sure the folder is new, or a Run of the same arguments; `restart` empties a Run."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: is a file; --out names a folder")
    if is_run(run) and "imported" in read_json(run / RECIPE):
        raise UserError(f"{run}: is a run of imported weights; name it with --weights, and choose another --out")
    if (run / QUANTISATION).is_file():
        raise UserError(f"{run}: is a quantised run; choose another --out")
    if restart and is_run(run):
        shutil.rmtree(run)
    if is_run(run):
        before = read_json(run / RECIPE).get("arguments", {})
        now = json.loads(json.dumps(arguments.to_json()))
        for name in now:
            if before.get(name) != now[name]:
                what = name.removesuffix("_sha256")
                if name != what and before.get(what) == now[what]:
                    raise UserError(
                        f"the {what} {now[what]} changed since {run} was begun: restore what was there, choose another "
                        "--out, or --restart"
                    )
                if name == "recipe_sha256" and before.get("recipe") == now["recipe"]:
                    raise UserError(
                        f"the recipe {now['recipe']} changed since {run} was begun: restore it, choose another --out, "
                        "or --restart"
                    )
                raise UserError(
                    f"{run} was trained with {name} {_shown(before.get(name))}, now {_shown(now[name])}: "
                    "use the same arguments to go on, another --out, or --restart"
                )
    elif run.is_dir():
        strangers = {p.name for p in run.iterdir() if not p.name.endswith(".part")} - {SPEC, LABELS, *RANGE_TEST}
        if strangers:  # spec and labels alone are what a kill leaves before the recipe is written
            raise UserError(f"{run}: is not empty and not a run; choose another --out")
    for leftover in run.rglob(".*.part"):  # of a write that was killed
        leftover.unlink()


def _shown(value: Any) -> str:
    return "left out" if value is None else repr(value)


def make_spec(arguments: Arguments, dataset: Dataset) -> Spec:
    """The network that was asked for, with the data's classes; for small pictures with fewer strides."""
    assert arguments.model is not None, "a training without weights names its model"
    settings: dict[str, Any] = {
        "width": arguments.width,
        "resolution": arguments.resolution,
        "classes": len(dataset.classes),
    }
    if arguments.profile is not None:
        settings["profile"] = arguments.profile
    if arguments.reparam is not None:
        settings["reparam"] = arguments.reparam
    spec = create_spec(arguments.model, **settings, total_stride=arguments.total_stride)
    if spec.profile == "authors" and spec.norm.momentum < SLOW_NORM:
        say(
            f"profile authors: BatchNorm's statistics follow the images over some {1 / spec.norm.momentum:,.0f} steps, "
            "and what is scored lags behind in a training that is not many times as long"
        )
    fitting = [stride for limit, stride in SMALL_PICTURES.items() if spec.resolution <= limit]
    if arguments.total_stride is None and fitting:
        say(f"inputs of {spec.resolution} pixels: total stride {fitting[0]} in place of 32 (--total-stride sets it)")
        spec = create_spec(arguments.model, **settings, total_stride=fitting[0])
    if fitting:  # a small picture is used whole: enlarging it to cut its border away loses what there is
        spec = replace(spec, preprocessing=replace(spec.preprocessing, crop_fraction=1.0))
    return spec


def describe(spec: Spec, dataset: Dataset, parts: Roles) -> None:
    """Prints the network, its cost, and which images do what."""
    whole = cost(spec)
    say(
        f"{spec.name} at {spec.resolution} px: {whole.macs / 1e6:.1f} M MACs, {whole.params / 1e6:.2f} M parameters, "
        f"{len(dataset.classes)} classes"
    )
    if spec.reparam:
        say(f"trains with branches (reparam {spec.reparam}), which fold into the convolutions counted here")
    say(
        f"{len(parts.train)} images train, {len(parts.selection)} select the best epoch, "
        f"{len(parts.report)} ({parts.report_name}) are reported at the end"
    )
    for note in (*dataset.notes, *parts.notes):
        say(note)


def write_beginning(
    run: Path,
    arguments: Arguments,
    spec: Spec,
    dataset: Dataset,
    parts: Roles,
    recipe: Recipe,
    mark: str,
    start: Start | None = None,
    lesson: Lesson | None = None,
    precision: Precision = FLOAT32,
) -> None:
    """Writes what is known before training; on a resume checks that the data is still the same.

    `mark` is the data's fingerprint.
    """
    if is_run(run):
        before = read_json(run / RECIPE)["data"]["fingerprint"]
        if before != mark:
            raise UserError(
                f"the data at {arguments.data} changed since {run} was begun (fingerprint {before[:12]}, "
                f"now {mark[:12]}): restore it, choose another --out, or --restart"
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / SPEC, spec.to_json())
    write_json(run / LABELS, [_label(c) for c in dataset.classes])
    counts = {"train": len(parts.train), "selection": len(parts.selection), "report": len(parts.report)}
    write_json(
        run / RECIPE,
        {
            "task": "classify",
            "arguments": arguments.to_json(),
            "recipe": recipe.to_json(),
            "start": None if start is None else describe_start(start, spec, dataset, recipe),
            "precision": asdict(precision),
            "teacher": None if lesson is None else lesson.to_json(),
            "data": {
                "path": str(Path(arguments.data)),
                "fingerprint": mark,
                "form": dataset.form,
                "classes": len(dataset.classes),
                "images": counts,
                "report_name": parts.report_name,
                "notes": [*dataset.notes, *parts.notes],
            },
            "versions": {"mobilenets": __version__, "torch": torch.__version__, "numpy": np.__version__}
            | {"opencv": metadata.version("opencv-python-headless")},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def describe_start(start: Start, spec: Spec, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What a Run keeps of the weights that it begins from: which, what became of them, and what of them trains."""
    tuning = recipe.tuning
    assert tuning is not None
    names = [c.name for c in dataset.classes]
    norm = {"train": "trains", "keep": "statistics kept", "refresh": "statistics of the training images, kept"}
    put_back = start.folded and spec.norm.kind == "batch"
    return {
        "weights": start.name,
        "sha256": start.sha256,
        "model": start.spec.name,
        "resolution": start.spec.resolution,
        "classes": start.spec.head.classes,
        "classifier": classifier_note(start, len(names), kept_rows(start, names)),
        "frozen": tuning.freeze,
        "frozen_blocks": first_trained(spec, tuning.freeze),
        "blocks": len(spec.blocks),
        "batch_norm": "folded in" if spec.norm.kind == "none" else norm[tuning.norm_stats] + ", put back" * put_back,
    }


def _label(label: Any) -> dict[str, Any]:
    row = {"name": label.name, "index": label.index, "wnid": label.wnid}
    return {k: v for k, v in row.items() if v is not None}


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises UserError when the device is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(
            f"device {name!r} is not available here; allowed: auto, cpu, and cuda where there is a GPU"
        ) from None
    return device
