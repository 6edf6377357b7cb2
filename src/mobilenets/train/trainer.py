"""`train`: from labelled images to a finished Run, resumed by itself."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..arch.cost import cost
from ..arch.registry import create_spec
from ..arch.spec import Spec
from ..atomic import write_json, write_text
from ..console import progress as progress_bar
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.fingerprint import fingerprint
from ..data.loader import Images, Loader, scoring_batches
from ..data.roles import Roles, roles
from ..errors import UserError
from ..nn.network import build_network
from ..tasks.classify import classification_report
from .loop import EpochResult, Normaliser, compute_logits, train_epoch
from .optimise import Average, make_optimiser
from .recipe import Recipe, named_recipe
from .report import write_report
from .run import EVALUATION, LABELS, LAST, METRICS, RECIPE, SPEC, is_run, open_run, read_json
from .session import Session
from .tensorboard import Events

KEPT_SELECTION_BYTES = 512 * 2**20
SMALL_PICTURES = {48: 8, 96: 16}  # up to this resolution: this total stride in place of 32


@dataclass(frozen=True)
class Arguments:
    """What a user asked of `train`; the same arguments again go on with the same Run."""

    data: str
    model: str
    labels: str | None
    epochs: int | None
    minutes: float | None
    resolution: int | None
    width: float | None
    total_stride: int | None
    batch_size: int | None
    lr: float | None
    seed: int
    recipe: str
    device: str


def train(
    data: str | os.PathLike[str],
    *,
    model: str = "mobilenet_v3_small",
    out: str | os.PathLike[str] = "run",
    epochs: int | None = None,
    minutes: float | None = None,
    resolution: int | None = None,
    width: float | None = None,
    total_stride: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    recipe: str = "default",
    labels: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Trains a network on labelled images and leaves a Run; resumes by itself. Returns what `train --json` prints.

    `minutes` ends the training when they are over, learning rate and all; with `epochs` too, the first of the two.
    Settings at None are chosen for the data and the recipe, and printed. Started again with the same arguments it goes
    on, or gives the finished result; other arguments raise UserError naming the difference, unless `restart`.
    Selection sees a part of the training data alone; the reported split is scored once, at the end.
    """
    arguments = Arguments(
        data=str(data),
        model=model,
        labels=labels,
        epochs=epochs,
        minutes=minutes,
        resolution=resolution,
        width=width,
        total_stride=total_stride,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        recipe=recipe,
        device=device,
    )
    if minutes is not None and not minutes > 0:
        raise UserError(f"minutes {minutes:g} is out of range: allowed is above 0")
    run = Path(out)
    settings = named_recipe(recipe, epochs=epochs, batch_size=batch_size, lr=lr)
    if minutes is not None and epochs is None:
        settings = replace(settings, epochs=100_000)  # the clock ends it
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads {threads} is out of range: allowed is 1 or more")
        torch.set_num_threads(threads)
    _claim(run, arguments, restart=restart)
    dataset = open_dataset(data, labels=labels)
    parts = roles(dataset, seed=0)
    spec = _make_spec(arguments, dataset, settings)
    _describe(spec, dataset, parts)
    _write_beginning(run, arguments, spec, dataset, parts, settings)
    training = _Training(run, spec, dataset, parts, settings, arguments, _device(device))
    return training.result()


class _Training:
    """One training from its Run's last checkpoint to its report."""

    def __init__(
        self,
        run: Path,
        spec: Spec,
        dataset: Dataset,
        parts: Roles,
        recipe: Recipe,
        arguments: Arguments,
        device: torch.device,
    ) -> None:
        self.run, self.spec, self.dataset, self.parts = run, spec, dataset, parts
        self.recipe, self.device = recipe, device
        self.limit = None if arguments.minutes is None else 60 * arguments.minutes
        self.loader = Loader(
            Images(dataset, parts.train, round(spec.resolution * recipe.store)),
            batch_size=recipe.batch_size,
            resolution=spec.resolution,
            augmentation=recipe.augmentation,
            seed=arguments.seed,
        )
        torch.manual_seed(arguments.seed)
        network = build_network(spec).to(device, memory_format=torch.channels_last)
        average = Average(network, recipe.ema_epochs * self.loader.steps) if recipe.ema_epochs else None
        self.session = Session(network, make_optimiser(network, recipe.optimiser), average)
        self.normalise = Normaliser(spec.preprocessing, device)
        self._selection: list[tuple[np.ndarray, np.ndarray]] | None = None

    def result(self) -> dict[str, Any]:
        """Trains what is left to train, scores the reported split once, writes the report."""
        session = self.session
        if (self.run / LAST).exists():
            session.restore(self.run)
            self._write_metrics()  # a kill may have come between checkpoint and metrics
            if not session.finished:
                say(f"going on after epoch {session.epoch}")
        if not session.finished:
            self._train()
        if not (self.run / EVALUATION).exists():
            self._evaluate()
        write_report(self.run)
        evaluation = read_json(self.run / EVALUATION)
        return {
            "run": str(self.run),
            "model": self.spec.name,
            "best": session.best,
            "report": {k: evaluation[k] for k in ("split", "images", "top1", "top1_interval", "top5", "f1")},
            "epochs": session.epoch,
            "seconds": round(session.elapsed, 1),
            "images_per_second": round(session.images / max(session.trained_seconds, 1e-9), 1),
            "files": {"report": str(self.run / "report.html")},
        }

    def _train(self) -> None:
        session, recipe = self.session, self.recipe
        before = session.elapsed
        started = time.perf_counter()

        def elapsed() -> float:
            return before + time.perf_counter() - started

        def part_done(step: int) -> float:
            by_steps = (session.epoch + step / self.loader.steps) / recipe.epochs
            return max(by_steps, elapsed() / self.limit if self.limit else 0.0)

        def keep_going() -> bool:
            return self.limit is None or elapsed() < self.limit

        total = None if recipe.epochs >= 100_000 else recipe.epochs
        with progress_bar() as bar, closing(Events(self.run, session.epoch)) as events:
            task = bar.add_task("train", total=self.loader.steps, note="")
            while session.epoch < recipe.epochs and keep_going():
                name = f"epoch {session.epoch + 1}" + (f"/{total}" if total else "")

                def on_step(step: int, loss: float, speed: float) -> None:
                    left = self._seconds_left(part_done(step), elapsed())
                    note = f"{speed:.0f} images/s  loss {loss:.3f}{self._last_score()}  {left} left"
                    bar.update(task, completed=step, note=note, description=name)

                outcome = train_epoch(
                    session.network,
                    self.loader,
                    session.optimiser,
                    recipe,
                    epoch=session.epoch,
                    classes=self.spec.head.outputs,
                    normalise=self.normalise,
                    average=session.average,
                    progress=part_done,
                    on_step=on_step,
                    keep_going=keep_going,
                    device=self.device,
                )
                self._finish_epoch(outcome, elapsed, total)
                if session.history:
                    events.log(session.history[-1], time.time())
        session.finished = True
        session.elapsed = elapsed()
        session.save(self.run)

    def _finish_epoch(self, outcome: EpochResult, elapsed: Any, total: int | None) -> None:
        """Scores the selection images, keeps the best weights, and commits the epoch to disk."""
        session = self.session
        if outcome.steps == 0:
            return
        session.epoch += 1
        session.images += outcome.images
        session.trained_seconds += outcome.seconds
        row = self._score(outcome)
        session.history.append(row)
        better = session.best is None or (row["val_top1"], -row["val_loss"]) > (
            session.best["val_top1"],
            -session.best["val_loss"],
        )
        if better:
            session.best = row
            session.save_best(self.run)  # before the checkpoint: a kill between the two repeats this epoch
        row["seconds"] = session.elapsed = round(elapsed(), 3)
        session.finished = session.epoch >= self.recipe.epochs
        session.save(self.run)
        self._write_metrics()
        low, high = row["val_top1_interval"]
        say(
            f"epoch {session.epoch}{f'/{total}' if total else ''}  loss {row['train_loss']:.3f}  "
            f"selection top-1 {row['val_top1']:.1%} ({low:.1%}-{high:.1%}, {row['val_images']} images)"
            f"{' *' if better else ''}  {row['images_per_second']:.0f} images/s"
        )

    def _write_metrics(self) -> None:
        write_text(self.run / METRICS, "".join(json.dumps(row) + "\n" for row in self.session.history))

    def _selection_batches(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """The selection images, ready to score; kept in memory where they are few."""
        if self._selection is not None:
            return self._selection
        side = self.spec.resolution
        batches = scoring_batches(self.dataset, self.parts.selection, self.spec.preprocessing)
        if len(self.parts.selection) * side * side * 3 > KEPT_SELECTION_BYTES:
            return batches
        self._selection = list(batches)
        return self._selection

    def _score(self, outcome: EpochResult) -> dict[str, Any]:
        session = self.session
        scored = session.network
        if session.average is not None:
            scored = build_network(self.spec).to(self.device, memory_format=torch.channels_last)
            scored.load_state_dict(session.network.state_dict() | session.average.values)
        logits, truth = compute_logits(scored, self._selection_batches(), self.normalise, self.device)
        names = [c.name for c in self.dataset.classes]
        scores = classification_report(logits, truth, names, [s.name for s in self.parts.selection], mistakes=0)
        return {
            "epoch": session.epoch,
            "step": session.epoch * self.loader.steps,
            "train_loss": outcome.loss,
            "lr": outcome.lr,
            "images_per_second": round(outcome.images / outcome.seconds, 1),
            "val_loss": scores["loss"],
            "val_top1": scores["top1"],
            "val_top1_interval": scores["top1_interval"],
            "val_images": scores["images"],
            "ema": session.average is not None,
        }

    def _evaluate(self) -> None:
        """Scores the reported split with the selected weights. This is the only time it is looked at."""
        network = open_run(self.run).network().to(self.device, memory_format=torch.channels_last)
        batches = scoring_batches(self.dataset, self.parts.report, self.spec.preprocessing)
        logits, truth = compute_logits(network, batches, self.normalise, self.device)
        names = [c.name for c in self.dataset.classes]
        scores = classification_report(logits, truth, names, [s.name for s in self.parts.report])
        head = {"network": str(self.run), "data": str(self.dataset.root), "split": self.parts.report_name}
        write_json(self.run / EVALUATION, head | scores)
        low, high = scores["top1_interval"]
        say(
            f"{self.parts.report_name}: top-1 {scores['top1']:.1%} "
            f"(95 % interval {low:.1%}-{high:.1%}, {scores['images']} images)"
        )

    def _last_score(self) -> str:
        history = self.session.history
        return f"  selection {history[-1]['val_top1']:.1%}" if history else ""

    def _seconds_left(self, part: float, elapsed: float) -> str:
        if part < 0.005:
            return "…"
        seconds = elapsed * (1 - part) / part
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _claim(run: Path, arguments: Arguments, *, restart: bool) -> None:
    """Makes sure the folder is new, or a Run of the same arguments; `restart` empties a Run."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: is a file; --out names a folder")
    if restart and is_run(run):
        shutil.rmtree(run)
    if is_run(run):
        before = read_json(run / RECIPE).get("arguments", {})
        now = json.loads(json.dumps(arguments.__dict__))
        for name in now:
            if before.get(name) != now[name]:
                raise UserError(
                    f"{run} was trained with {name} {before.get(name)!r}, now {now[name]!r}: "
                    "use the same arguments to go on, another --out, or --restart"
                )
    elif run.is_dir():
        strangers = {p.name for p in run.iterdir() if not p.name.endswith(".part")} - {SPEC, LABELS}
        if strangers:  # spec and labels alone are what a kill leaves before the recipe is written
            raise UserError(f"{run}: is not empty and not a run; choose another --out")
    for leftover in run.rglob(".*.part"):  # of a write that was killed
        leftover.unlink()


def _make_spec(arguments: Arguments, dataset: Dataset, recipe: Recipe) -> Spec:
    spec = create_spec(
        arguments.model,
        width=arguments.width,
        resolution=arguments.resolution,
        classes=len(dataset.classes),
        dropout=recipe.dropout,
        total_stride=arguments.total_stride,
    )
    if arguments.total_stride is None:
        for limit, stride in SMALL_PICTURES.items():
            if spec.resolution <= limit:
                say(f"inputs of {spec.resolution} pixels: total stride {stride} in place of 32")
                return create_spec(
                    arguments.model,
                    width=arguments.width,
                    resolution=arguments.resolution,
                    classes=len(dataset.classes),
                    dropout=recipe.dropout,
                    total_stride=stride,
                )
    return spec


def _describe(spec: Spec, dataset: Dataset, parts: Roles) -> None:
    whole = cost(spec)
    say(
        f"{spec.name} at {spec.resolution} px: {whole.macs / 1e6:.1f} M MACs, {whole.params / 1e6:.2f} M parameters, "
        f"{len(dataset.classes)} classes"
    )
    say(
        f"{len(parts.train)} images train, {len(parts.selection)} select the best epoch, "
        f"{len(parts.report)} ({parts.report_name}) are reported at the end"
    )
    for note in (*dataset.notes, *parts.notes):
        say(note)


def _write_beginning(
    run: Path, arguments: Arguments, spec: Spec, dataset: Dataset, parts: Roles, recipe: Recipe
) -> None:
    """Writes what is known before training; on a resume checks that the data is still the same."""
    mark = fingerprint(dataset)
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
            "arguments": arguments.__dict__,
            "recipe": recipe.to_json(),
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


def _label(label: Any) -> dict[str, Any]:
    row = {"name": label.name, "index": label.index, "wnid": label.wnid}
    return {k: v for k, v in row.items() if v is not None}


def _device(name: str) -> torch.device:
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
