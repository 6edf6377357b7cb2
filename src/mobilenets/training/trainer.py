"""`train`: from labelled images to a finished Run, resumed by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..arch.spec import Spec
from ..atomic import write_json, write_text
from ..console import progress as progress_bar
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.loader import Images, Loader, scoring_batches
from ..data.roles import Roles, roles
from ..errors import UserError
from ..nn.network import build_network
from ..nn.placement import placed
from ..tasks.classify import classification_report
from .begin import Arguments, choose_device, claim, describe, make_spec, write_beginning
from .loop import EpochResult, Normaliser, compute_logits, train_epoch
from .optimise import Average, make_optimiser
from .recipe import SMALL, Recipe, choose_recipe
from .report import write_report
from .run import EVALUATION, LAST, METRICS, open_run, read_json, selection_key
from .session import Session
from .tensorboard import Events

PRECISIONS = ("float32", "bfloat16")
NO_LIMIT = 100_000  # epochs, where the clock ends the training
KEPT_SELECTION_BYTES = 512 * 2**20


def run_training(
    arguments: Arguments,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Trains as `arguments` say and leaves a Run at `out`, or goes on with it. Returns what `train --json` prints.

    Bad values raise UserError before the data is read. Selection sees a part of the training data alone; the reported
    split is scored once, at the end.
    """
    check_arguments(arguments)
    run = Path(out)
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads {threads} is out of range: allowed is 1 or more")
        torch.set_num_threads(threads)
    placement = choose_device(arguments.device)
    claim(run, arguments, restart=restart)
    dataset = open_dataset(arguments.data, labels=arguments.labels)
    parts = roles(dataset, seed=0)
    spec = make_spec(arguments, dataset)
    settings = choose_recipe(arguments.recipe, spec.resolution, arguments.changes)
    if arguments.minutes is not None and arguments.changes.epochs is None:
        settings = replace(settings, epochs=NO_LIMIT)  # the clock ends it
    describe(spec, dataset, parts)
    write_beginning(run, arguments, spec, dataset, parts, settings)
    training = _Training(run, spec, dataset, parts, settings, arguments, placement)
    return training.result()


def check_arguments(arguments: Arguments) -> None:
    """Raises UserError, naming the value and what is allowed, for what can be told without the data."""
    if arguments.precision not in PRECISIONS:
        raise UserError(f"unknown precision {arguments.precision!r}; allowed: {', '.join(PRECISIONS)}")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise UserError(f"minutes {arguments.minutes:g} is out of range: allowed is above 0")
    choose_recipe(arguments.recipe, SMALL, arguments.changes)


def training_resolution(resolution: int, fraction: float) -> int:
    """The side of the training images: that fraction of the resolution, to a multiple of 16 where it is less."""
    return resolution if fraction >= 1 else min(resolution, max(32, round(resolution * fraction / 16) * 16))


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
        self.bfloat16 = arguments.precision == "bfloat16"
        self.limit = None if arguments.minutes is None else 60 * arguments.minutes
        self.loader = Loader(
            Images(dataset, parts.train, round(spec.resolution * recipe.store)),
            batch_size=recipe.batch_size,
            resolution=training_resolution(spec.resolution, recipe.train_resolution),
            augmentation=recipe.augmentation,
            seed=arguments.seed,
        )
        torch.manual_seed(arguments.seed)
        network = placed(build_network(spec), device)
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

        total = None if recipe.epochs >= NO_LIMIT else recipe.epochs

        def on_step(step: int, loss: float, speed: float) -> None:
            left = self._seconds_left(part_done(step), elapsed())
            note = f"{speed:.0f} images/s  loss {loss:.3f}{self._last_score()}  {left} left"
            name = f"epoch {session.epoch + 1}" + (f"/{total}" if total else "")
            bar.update(task, completed=step, note=note, description=name)

        with progress_bar() as bar, closing(Events(self.run, session.epoch)) as events:
            task = bar.add_task("train", total=self.loader.steps, note="")
            while session.epoch < recipe.epochs and keep_going():
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
                    bfloat16=self.bfloat16,
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
        better = session.best is None or selection_key(row) > selection_key(session.best)
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
            scored = placed(build_network(self.spec), self.device)
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
        network = placed(open_run(self.run).network(), self.device)
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
