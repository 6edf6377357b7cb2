"""An experiment of a paper on data at hand: every network trained for every seed, then the paper's claims checked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ...arch.check import check_count, check_number
from ...arch.cost import cost
from ...console import progress, say
from ...data.dataset import open_dataset
from ...data.fingerprint import fingerprint
from ...data.records import Dataset
from ...tasks.classify import wilson
from ...training.hold import held
from ...training.precision import check_precision
from ...training.run import LAST
from .answers import unpack
from .designs import Cell, Design, make_design
from .outcome import outcome
from .plan import LOGS, PLAN, Asked, Plan, kept_plan, make_plan
from .pool import Done, Job, default_workers, run_jobs
from .rows import read_rows, write_rows

RUNS = "runs"


def run_experiment(
    name: str,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seeds: int = 3,
    seconds: float = 60.0,
    epochs: int | None = None,
    full: bool = False,
    resolution: int | None = None,
    width: float | None = None,
    precision: str = "auto",
    workers: int | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Repeats the experiment `name` of `designs.DESIGNS` on labelled images. Returns `experiment` of `paper --json`.

    Every network of the design is trained from `seeds` seeds, each training a Run below `out`, `workers` at once with
    one thread each. All make the same number of passes over the images (see `plan`): `epochs`, or as many as fit when
    the machine spends `seconds` on a training on average. `precision` is that of all trainings, as `train` takes it.
    `full`, `resolution` and `width`: see `designs.make_design`.
    Called again with the same arguments it goes on where it was, or gives what it found; `seeds` may have grown.
    Selection sees a part of the training images alone; the reported split is looked at when a training is over.
    Raises UserError on bad values, on an `out` that is of something else, and on data that has changed.
    """
    design = make_design(name, full=full, resolution=resolution, width=width)
    check_count("seeds", seeds, 1)
    check_number("seconds", seconds, above=0)
    if epochs is not None:
        check_count("epochs", epochs, 1)
    check_precision(precision)
    workers = default_workers() if workers is None else check_count("workers", workers, 1)
    folder = Path(out)
    asked = Asked(name, str(data), full, resolution, width, float(seconds), epochs, precision)
    with held(folder):
        if restart and (folder / PLAN).is_file():
            shutil.rmtree(folder)
        dataset = open_dataset(data)
        mark = fingerprint(dataset)
        plan = kept_plan(folder, asked, mark) or make_plan(folder, design, asked, mark, workers)
        rows = _train(folder, design, plan, dataset, seeds, workers)
    return outcome(folder, design, plan, rows)


def _train(
    folder: Path, design: Design, plan: Plan, dataset: Dataset, seeds: int, workers: int
) -> list[dict[str, Any]]:
    """Does what is not done yet, seed by seed, the dearest network first. Returns the rows of all, in that order."""
    costs = {cell.name: cost(plan.spec(cell, len(dataset.classes))) for cell in design.cells}
    cells = sorted(design.cells, key=lambda cell: costs[cell.name].macs, reverse=True)
    wanted = [(cell, seed) for seed in range(seeds) for cell in cells]
    rows = read_rows(folder)
    done = {(row["cell"], row["seed"]): row for row in rows}
    todo = {_name(cell, seed): (cell, seed) for cell, seed in wanted if (cell.name, seed) not in done}
    jobs = [
        Job(name, "train", plan.training(cell, seed, folder / RUNS / name), folder / LOGS / f"{name}.txt")
        for name, (cell, seed) in todo.items()
    ]
    if jobs:
        say(_announced(plan, [cell for cell, _ in todo.values()], len(wanted), workers))
    with progress() as bar:
        task = bar.add_task("train", total=len(wanted), completed=len(wanted) - len(jobs), note="")
        for one in run_jobs(jobs, workers):
            cell, seed = todo.pop(one.job.name)
            whole = costs[cell.name]
            row = _row(cell, seed, plan, one) | {"macs": whole.macs, "params": whole.params}
            rows.append(row)
            done[cell.name, seed] = row
            write_rows(folder, rows)
            (folder / row["run"] / LAST).unlink(missing_ok=True)  # four fifths of a Run; nobody goes on with it
            low, high = row["top1_interval"]
            say(
                f"{len(wanted) - len(todo)}/{len(wanted)}  {cell.label}, seed {seed}: top-1 {row['top1']:.1%} "
                f"({low:.1%}-{high:.1%}), {row['seconds']:.0f} s{_left(plan, [c for c, _ in todo.values()], workers)}"
            )
            bar.advance(task)
    return [done[cell.name, seed] for cell, seed in wanted]


def _name(cell: Cell, seed: int) -> str:
    return f"{cell.name}-seed{seed}"


def _row(cell: Cell, seed: int, plan: Plan, one: Done) -> dict[str, Any]:
    """What is kept of a training. `right` has a bit for each image of the reported split, see `answers.pack`."""
    result, report = one.answer["result"], one.answer["result"]["report"]
    images = report["images"]
    right = int(unpack(one.answer["right"], images).sum())
    return {
        "cell": cell.name,
        "seed": seed,
        "model": cell.model,
        "width": cell.width,
        "resolution": cell.resolution,
        "epochs": result["epochs"],
        "precision": plan.precision,
        "split": one.answer["split"],
        "images": images,
        "top1": right / images,
        "top1_interval": list(wilson(right, images)),
        "selection_top1": result["best"]["val_top1"],
        "seconds": round(one.seconds, 1),
        "images_per_second": result["images_per_second"],
        "run": f"{RUNS}/{one.job.name}",
        "right": one.answer["right"],
    }


def _announced(plan: Plan, cells: list[Cell], wanted: int, workers: int) -> str:
    passes = f"{plan.epochs} pass{'es' if plan.epochs > 1 else ''} over the images each, {plan.precision}"
    return f"{len(cells)} of {wanted} trainings to do, {workers} at once: {passes}{_left(plan, cells, workers)}"


def _left(plan: Plan, cells: list[Cell], workers: int) -> str:
    """How long the trainings of these cells take, in words; nothing where it was not measured."""
    found = [plan.seconds(cell) for cell in cells]
    seconds = [one for one in found if one is not None]
    if not seconds or len(seconds) < len(found):
        return ""
    left = max(sum(seconds) / workers, max(seconds))
    return f"; about {left / 60:.0f} min left" if left >= 90 else f"; about {left:.0f} s left"
