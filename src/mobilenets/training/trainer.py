"""`train`: from labelled images to a finished Run, resumed by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..arch.registry import create_spec
from ..arch.spec import Spec
from ..console import progress as progress_bar
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.fingerprint import fingerprint
from ..data.roles import Roles, roles
from ..errors import UserError
from ..nn.kernels import available
from ..nn.kernels.memory import kept_memory
from ..nn.network import build_network
from ..nn.placement import placed
from ..nn.refold import set_momentum_
from ..nn.stochastic_depth import set_stochastic_depth_
from .adopt import adopt, adopted_spec, spec_to_train
from .average import make_average
from .begin import Arguments, choose_device, claim, describe, make_spec, write_beginning
from .choose import file_sha256
from .distill import make_distiller
from .epochs import Training, seconds_left
from .find_lr import find_lr
from .freeze import Freezing
from .head_only import HeadTraining
from .hold import held
from .lesson import Lesson, plan_lesson
from .loading import make_loader, training_resolution
from .loop import LabelLoss, Normaliser, train_epoch
from .optimise import make_optimiser
from .precision import Precision, choose_precision
from .recipe import Recipe
from .run import LAST, RECIPE, is_run, read_json
from .session import Session
from .settle import check_arguments, settings_of
from .start import Start, check_fits
from .teacher import Teacher
from .tracking import Tracker, open_trackers


def run_training(
    arguments: Arguments,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    restart: bool = False,
    start: Start | None = None,
    teacher: Teacher | None = None,
    range_test: bool = False,
    track: str | Tracker | None = None,
) -> dict[str, Any]:
    """Trains as `arguments` say and leaves a Run at `out`, or goes on with it. Returns what `train --json` prints.

    With `range_test` it sweeps the learning rate instead, see `find_lr`, and leaves a Run at `out` as it is.
    `start` holds the weights that `arguments.weights` names, `teacher` is what `arguments.teaching` names, `track` who
    follows besides TensorBoard, see `tracking`; it is no argument of the Run, and may change when a training goes on.
    Bad values raise UserError before the data is read.
    Selection sees a part of the training data alone; the reported split is scored once, at the end.
    """
    check_arguments(arguments)
    run = Path(out)
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads {threads} is out of range: allowed is 1 or more")
        torch.set_num_threads(threads)
    placement = choose_device(arguments.device)
    if start is not None:
        model = None if arguments.model is None else create_spec(arguments.model, width=arguments.width)
        check_fits(start, model, arguments.width, arguments.changes)
        refuse_overwriting(run, start.name, "the weights to begin from")
        arguments = replace(arguments, weights_sha256=start.sha256)
    if teacher is not None:
        refuse_overwriting(run, teacher.name, "the teacher")
        arguments = replace(arguments, teaching=replace(arguments.teaching, teacher_sha256=teacher.sha256))
    arguments = replace(arguments, recipe_sha256=file_sha256(arguments.recipe))
    if range_test and track is not None:
        raise UserError("track goes with a training; find-lr sweeps the learning rate, and leaves nothing to follow")
    trackers = [] if range_test else open_trackers(track, run)
    with nullcontext() if range_test else held(run):
        return _train(arguments, run, placement, start, teacher, trackers, restart=restart, range_test=range_test)


def _train(
    arguments: Arguments,
    run: Path,
    placement: torch.device,
    start: Start | None,
    teacher: Teacher | None,
    trackers: Sequence[Tracker],
    *,
    restart: bool,
    range_test: bool,
) -> dict[str, Any]:
    """`run_training` once the arguments are complete and the Run is this process's own."""
    if not range_test:
        claim(run, arguments, restart=restart)
    elif run.exists() and not run.is_dir():
        raise UserError(f"{run}: is a file; --out names a folder")
    dataset = open_dataset(arguments.data, labels=arguments.labels)
    parts = roles(dataset, seed=0)
    if start is None:
        spec = make_spec(arguments, dataset)
    else:
        spec = adopted_spec(start, dataset, parts.train, arguments.resolution, arguments.total_stride)
    if is_run(run) and not range_test:  # as it was begun: a newer version may have other ideas of the same recipe
        settings = Recipe.from_json(read_json(run / RECIPE)["recipe"])
    else:
        settings = settings_of(arguments, spec, len(parts.train))
    if start is not None:
        spec = spec_to_train(start, spec, settings)
    describe(spec, dataset, parts)
    lesson = None
    if teacher is not None:
        side = training_resolution(spec.resolution, settings.train_resolution)
        lesson = plan_lesson(teacher, settings, spec, dataset.classes, side)
    precision = _precision(run, arguments, settings, placement, range_test=range_test)
    if range_test:
        mark = fingerprint(dataset)
    else:
        mark = write_beginning(run, arguments, spec, dataset, parts, settings, start, lesson, precision)
    with kept_memory() if placement.type == "cpu" else nullcontext():
        where = run / "none" if range_test else run
        training = _make(where, spec, dataset, parts, settings, arguments, placement, start, mark, lesson, precision)
        training.trackers = trackers
        return find_lr(training, run) if range_test else training.result()


def _precision(run: Path, arguments: Arguments, recipe: Recipe, device: torch.device, *, range_test: bool) -> Precision:
    """That which the Run was begun with, or what the arguments come to here."""
    begun = read_json(run / RECIPE).get("precision") if is_run(run) and not range_test else None
    if begun is not None:
        return Precision(**begun)
    steps = recipe.tuning is None or recipe.tuning.freeze != "all"
    chosen = choose_precision(arguments.precision, device, steps=steps)
    if arguments.precision == "auto":
        say(f"computes in {chosen.name}: {chosen.why} (--precision sets it)")
    return chosen


def refuse_overwriting(run: Path, name: str, what: str) -> None:
    """Raises UserError where `name` is a file or folder that is, or lies in, the folder of the Run."""
    path = Path(name).resolve()
    if run.resolve() in (path, *path.parents):
        raise UserError(f"{run}: holds {what}; choose another --out")


def _make(
    run: Path,
    spec: Spec,
    dataset: Dataset,
    parts: Roles,
    recipe: Recipe,
    arguments: Arguments,
    device: torch.device,
    start: Start | None,
    mark: str,
    lesson: Lesson | None,
    precision: Precision,
) -> Training:
    """The training, its network new or with the weights to begin from."""
    loader = make_loader(spec, dataset, parts, recipe, arguments.seed, mark)
    normalise = Normaliser(spec.preprocessing, device)
    torch.manual_seed(arguments.seed)
    began = time.perf_counter()
    if start is None or (run / LAST).exists():  # a checkpoint has all that was adopted
        network = placed(build_network(spec), device)
    else:
        network = adopt(start, spec, recipe, dataset, parts, normalise)
    tuning = recipe.tuning
    head_only = tuning is not None and tuning.freeze == "all"
    if tuning is not None and tuning.norm_momentum is not None:
        set_momentum_(network, tuning.norm_momentum)
    set_stochastic_depth_(network, recipe.stochastic_depth)
    average = None if head_only else make_average(network, recipe.averaging, loader.steps)
    bfloat16 = precision.bfloat16
    labels = LabelLoss.of(recipe.loss, loader.labels, spec.head.outputs, device)
    distiller = None
    if lesson is not None:
        distiller = make_distiller(lesson, network, loader, normalise, labels, mark, bfloat16=bfloat16)
    beside = None if distiller is None else distiller.projections
    optimiser = None if head_only else make_optimiser(network, recipe.optimiser, tuning, beside)
    session = Session(network, optimiser, average, beside)
    if start is not None:
        session.elapsed = time.perf_counter() - began  # adopting weights counts as training time
    kind = HeadTraining if head_only else _Training
    training = kind(
        run, spec, dataset, parts, recipe, loader, session, normalise, minutes=arguments.minutes, bfloat16=bfloat16
    )
    training.loss_of = distiller or labels
    return training


class _Training(Training):
    """Training by steps down the gradient."""

    def train(self) -> None:
        """Epoch after epoch until they or the minutes are over."""
        session, recipe = self.session, self.recipe
        elapsed = self.clock()
        assert session.optimiser is not None
        freezing = None if recipe.tuning is None else Freezing(session.network, recipe.tuning)
        if self.device.type == "cpu":
            found, reason = available()
            if not found:
                say(f"training by plain PyTorch, without the kernels for this CPU: {reason}")

        def part_done(step: int) -> float:
            by_steps = (session.epoch + step / self.loader.steps) / recipe.epochs
            return max(by_steps, elapsed() / self.limit if self.limit else 0.0)

        def keep_going() -> bool:
            return self.limit is None or elapsed() < self.limit

        def on_step(step: int, loss: float, speed: float) -> None:
            left = seconds_left(part_done(step), elapsed())
            note = f"{speed:.0f} images/s  loss {loss:.3f}{self.last_score()}  {left} left"
            bar.update(task, completed=step, note=note, description=f"epoch {session.epoch + 1}{self.total}")

        with progress_bar() as bar:
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
                    freezing=freezing,
                    loss_of=self.loss_of,
                )
                self.finish_epoch(outcome, elapsed)
        self.finish(elapsed())
