"""How long and how every cell of an experiment trains; settled once, kept in its folder.

Every cell makes the same number of passes over the images. The paper compares networks that were trained until they
gained no more, under one schedule; of what a budget of minutes allows, equal passes are nearest to that. In equal time
a network of a fifteenth of the cost would see fifteen times the images, and the experiment would compare speeds. Equal
passes also repeat bit for bit, whatever else the machine does meanwhile. So time is used once only: to choose how many
passes all trainings together can make in the time allowed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...arch.cost import cost
from ...arch.registry import create_spec
from ...arch.spec import Spec
from ...atomic import write_json
from ...console import say, warn
from ...errors import UserError
from ...training.begin import SMALL_PICTURES, choose_device
from ...training.choose import SMALL
from ...training.precision import choose_precision
from ...training.run import read_json
from .designs import Cell, Design
from .pool import Job, run_jobs

PLAN, LOGS = "experiment.json", "logs"
MEASURE = 3.0  # seconds of steps by which a cell's speed is told
WHOLE_STRIDE = 32  # of all networks, where pictures are large


@dataclass(frozen=True)
class Asked:
    """What the user asked for; the same again goes on with what is there. None: chosen here."""

    experiment: str
    data: str
    full: bool
    resolution: int | None
    width: float | None
    seconds: float
    epochs: int | None
    precision: str


@dataclass(frozen=True)
class Plan:
    """What every training of the experiment has in common. `fingerprint` is the data's.

    `measured` holds, for each cell, the seconds on one core of an `epoch` and of what comes `once` a training; empty
    where the number of epochs was given.
    """

    asked: Asked
    fingerprint: str
    epochs: int
    precision: str
    total_stride: int
    recipe: str
    set: tuple[str, ...]
    measured: dict[str, dict[str, float]]

    def training(self, cell: Cell, seed: int, out: Path) -> dict[str, Any]:
        """The arguments of `mobilenets.train` for a cell and a seed."""
        return self.network(cell) | {
            "data": self.asked.data,
            "out": str(out),
            "epochs": self.epochs,
            "precision": self.precision,
            "seed": seed,
            "threads": 1,
        }

    def network(self, cell: Cell) -> dict[str, Any]:
        """The part of these arguments that says which network, trained in which way."""
        return {
            "model": cell.model,
            "width": cell.width,
            "resolution": cell.resolution,
            "total_stride": self.total_stride,
            "recipe": self.recipe,
            "set": list(self.set),
        }

    def spec(self, cell: Cell, classes: int = 10) -> Spec:
        """The cell's network."""
        return create_spec(
            cell.model, width=cell.width, resolution=cell.resolution, total_stride=self.total_stride, classes=classes
        )

    def seconds(self, cell: Cell) -> float | None:
        """What a training of the cell takes on one core; None where it was not measured."""
        measured = self.measured.get(cell.name)
        return None if measured is None else measured["once"] + self.epochs * measured["epoch"]


def kept_plan(folder: Path, asked: Asked, fingerprint: str) -> Plan | None:
    """The plan that lies in the folder, None where it is new. Raises UserError where it is of something else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out names a folder")
    if not (folder / PLAN).exists():
        if folder.is_dir() and {path.name for path in folder.iterdir() if not path.name.endswith(".part")} - {LOGS}:
            raise UserError(f"{folder}: is not empty and no experiment; choose another --out")
        return None
    kept = read_json(folder / PLAN)
    try:
        plan = Plan(**kept | {"asked": Asked(**kept["asked"]), "set": tuple(kept["set"])})
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder / PLAN}: is no plan of an experiment ({error})") from None
    before, now = asdict(plan.asked), json.loads(json.dumps(asdict(asked)))
    for name, value in now.items():
        if before[name] != value:
            raise UserError(
                f"{folder} was begun with {name} {_shown(before[name])}, now {_shown(value)}: use the same to go on, "
                "another --out, or --restart"
            )
    if plan.fingerprint != fingerprint:
        raise UserError(
            f"the data at {asked.data} changed since {folder} was begun: restore it, choose another --out, or --restart"
        )
    return plan


def _shown(value: Any) -> str:
    return "left out" if value is None else repr(value)


def make_plan(folder: Path, design: Design, asked: Asked, fingerprint: str, workers: int) -> Plan:
    """Chooses what was not given, by measuring where time decides, and keeps it in the folder."""
    large = design.resolution > SMALL
    fitting = [stride for limit, stride in SMALL_PICTURES.items() if design.resolution <= limit]
    plan = Plan(
        asked,
        fingerprint,
        epochs=asked.epochs or 1,
        precision=choose_precision(asked.precision, choose_device("auto")).name,
        total_stride=fitting[0] if fitting else WHOLE_STRIDE,
        recipe="default" if large else "small_pictures",
        set=("train_resolution=1",) if large else (),  # else ρ would scale in steps of 16 pixels
        measured={},
    )
    if asked.epochs is None:
        plan = _timed(folder, design, plan, workers)
    write_json(folder / PLAN, asdict(plan))
    return plan


def _timed(folder: Path, design: Design, plan: Plan, workers: int) -> Plan:
    """The plan with as many epochs as fit into the time."""
    say("measuring how long the trainings take here")
    dearest_first = sorted(design.cells, key=lambda cell: cost(plan.spec(cell)).macs, reverse=True)
    measured = _measure(folder, plan, dearest_first, workers)
    budget = plan.asked.seconds * len(design.cells) * workers  # core-seconds for one seed of everything
    once, epoch = (sum(one[key] for one in measured.values()) for key in ("once", "epoch"))
    if once + epoch > budget:
        warn(
            f"{plan.asked.seconds:g} seconds a training are too few for one pass over the images by every network: "
            f"each makes one, in {(once + epoch) / (len(design.cells) * workers):.0f} seconds on average"
        )
    return replace(plan, epochs=max(1, int((budget - once) / epoch)), measured=measured)


def _measure(folder: Path, plan: Plan, cells: Sequence[Cell], workers: int) -> dict[str, dict[str, float]]:
    """Seconds of an epoch and of the rest of each training; its process's own beginning and end belong to the rest."""
    jobs = [
        Job(
            cell.name,
            "time",
            plan.network(cell) | {"data": plan.asked.data, "precision": plan.precision, "seconds": MEASURE},
            folder / LOGS / f"time-{cell.name}.txt",
        )
        for cell in cells
    ]
    return {
        done.job.name: {
            "epoch": round(done.answer["epoch"], 3),
            "once": round(done.answer["once"] + done.seconds - done.answer["here"], 3),
        }
        for done in run_jobs(jobs, workers)
    }
