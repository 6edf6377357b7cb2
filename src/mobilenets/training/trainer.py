"""`train`: from labelled images to a finished Run, resumed by itself."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..arch.check import check_number
from ..arch.registry import create_spec
from ..arch.spec import Spec
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.fingerprint import fingerprint
from ..data.roles import Roles, roles
from ..errors import UserError
from ..nn.kernels import available
from ..nn.kernels.binding import SWITCH
from ..nn.kernels.memory import kept_memory
from ..nn.network import build_network
from ..nn.placement import placed
from ..nn.refold import set_momentum_
from ..nn.stochastic_depth import set_stochastic_depth_
from ..nn.sync_norm import synchronise_
from .adopt import adopt, adopted_spec, spec_to_train
from .average import make_average
from .begin import Arguments, choose_device, claim, describe, make_spec, write_beginning
from .choose import file_sha256
from .distill import make_distiller
from .epochs import Training
from .find_lr import find_lr
from .head_only import HeadTraining
from .hold import held
from .lesson import Lesson, plan_lesson
from .loading import make_loader, training_resolution
from .loop import LabelLoss, Normaliser
from .optimise import make_optimiser
from .parallel import Ranks, local_device
from .precision import Precision, choose_precision
from .recipe import Recipe
from .run import LAST, RECIPE, is_run, read_json
from .session import Session
from .settle import check_arguments, check_pieces, settings_of
from .start import Start, check_fits
from .steps import CHECKPOINT_MINUTES, StepTraining
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
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Trains as `arguments` say and leaves a Run at `out`, or goes on with it. Returns what `train --json` prints.

    With `range_test` it sweeps the learning rate instead, see `find_lr`, and leaves a Run at `out` as it is.
    `start` holds the weights that `arguments.weights` names, `teacher` is what `arguments.teaching` names, `track` who
    follows besides TensorBoard, see `tracking`; it is no argument of the Run, and may change when a training goes on.
    At most `checkpoint_minutes` of work are lost by a kill. Of several processes `ranks` are, the writer alone writes.
    Bad values raise UserError before the data is read.
    Selection sees a part of the training data alone; the reported split is scored once, at the end.
    """
    check_arguments(arguments)
    check_number("checkpoint minutes", checkpoint_minutes, above=0)
    ranks = ranks or Ranks()
    if range_test and ranks.world > 1:
        raise UserError(f"find lr runs in one process, and here are {ranks.world}: start it without torchrun")
    run = Path(out)
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads {threads} is out of range: allowed is 1 or more")
        torch.set_num_threads(threads)
    placement = local_device(choose_device(arguments.device), ranks)
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
    trackers: list[Tracker] = []
    with ExitStack() as stack:
        if not range_test:
            ranks.first(lambda: trackers.extend(open_trackers(track, run)))
            ranks.first(lambda: stack.enter_context(held(run)))
            ranks.first(lambda: claim(run, arguments, restart=restart))
        elif run.exists() and not run.is_dir():
            raise UserError(f"{run}: is a file; --out names a folder")
        if placement.type == "cpu":
            stack.enter_context(kept_memory())
        training = _begin(arguments, run, placement, start, teacher, ranks, range_test=range_test)
        training.trackers = trackers
        if range_test:
            return find_lr(training, run)
        if isinstance(training, StepTraining):
            training.checkpoint_minutes = checkpoint_minutes
        return training.result()


def _begin(
    arguments: Arguments,
    run: Path,
    placement: torch.device,
    start: Start | None,
    teacher: Teacher | None,
    ranks: Ranks,
    *,
    range_test: bool,
) -> Training:
    """The training, its Run begun, once the arguments are complete and the Run is this training's own."""
    begun = ranks.first(lambda: read_json(run / RECIPE) if is_run(run) and not range_test else None)

    def plan() -> tuple[Dataset, Roles, Spec, Recipe, Lesson | None]:
        dataset = open_dataset(arguments.data, labels=arguments.labels)
        parts = roles(dataset, seed=0)
        if start is None:
            spec = make_spec(arguments, dataset)
        else:
            spec = adopted_spec(start, dataset, parts.train, arguments.resolution, arguments.total_stride)
        if begun is not None:  # as it was begun: a newer version may have other ideas of the same recipe
            settings = Recipe.from_json(begun["recipe"])
        else:
            settings = settings_of(arguments, spec, len(parts.train))
        check_pieces(settings, ranks.world)
        if start is not None:
            spec = spec_to_train(start, spec, settings)
        describe(spec, dataset, parts)
        lesson = None
        if teacher is not None:
            side = training_resolution(spec.resolution, settings.train_resolution)
            lesson = plan_lesson(teacher, settings, spec, dataset.classes, side)
        return dataset, parts, spec, settings, lesson

    dataset, parts, spec, settings, lesson = ranks.together(plan)
    if placement.type == "cpu":
        _share_kernels(ranks)
    precision = ranks.first(lambda: _precision(begun, arguments, settings, placement))
    mark = ranks.together(lambda: fingerprint(dataset))
    ranks.together(lambda: _same_data(ranks.first(lambda: mark), mark, arguments.data))
    if not range_test:
        ranks.first(
            lambda: write_beginning(run, arguments, spec, dataset, parts, settings, mark, start, lesson, precision)
        )
    has_checkpoint = ranks.first(lambda: (run / LAST).exists() and not range_test)
    return _make(
        run, spec, dataset, parts, settings, arguments, placement, start, mark, lesson, precision, ranks, has_checkpoint
    )


def _share_kernels(ranks: Ranks) -> None:
    """All processes compute by the kernels, or none does: one of several machines may have no compiler."""
    if ranks.world == 1:
        return
    ranks.first(available)  # compiled once, the others find it
    if ranks.sum(available()[0])[0] < ranks.world and available()[0]:
        say("training by plain PyTorch: not all processes have the kernels for their CPU")
        os.environ[SWITCH] = "0"


def _precision(begun: dict[str, Any] | None, arguments: Arguments, recipe: Recipe, device: torch.device) -> Precision:
    """That which the Run was begun with, or what the arguments come to here."""
    if begun is not None and begun.get("precision") is not None:
        return Precision(**begun["precision"])
    steps = recipe.tuning is None or recipe.tuning.freeze != "all"
    chosen = choose_precision(arguments.precision, device, steps=steps)
    if arguments.precision == "auto":
        say(f"computes in {chosen.name}: {chosen.why} (--precision sets it)")
    return chosen


def _same_data(first: str, own: str, data: str) -> None:
    """Raises UserError where this process's data is not the writer's."""
    if first != own:
        raise UserError(
            f"the data at {data} is not the same for all processes (fingerprint {first[:12]} and {own[:12]}): give all "
            "machines the same copy"
        )


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
    ranks: Ranks,
    has_checkpoint: bool,
) -> Training:
    """The training, its network new or with the weights to begin from."""
    places = ranks.places(min(recipe.batch_size, len(parts.train)))
    loader = make_loader(spec, dataset, parts, recipe, arguments.seed, mark, places)
    normalise = Normaliser(spec.preprocessing, device)
    torch.manual_seed(arguments.seed)
    began = time.perf_counter()
    if start is None or has_checkpoint:  # a checkpoint has all that was adopted
        network = placed(build_network(spec), device)
    else:
        network = ranks.together(lambda: adopt(start, spec, recipe, dataset, parts, normalise))
    tuning = recipe.tuning
    head_only = tuning is not None and tuning.freeze == "all"
    if head_only and ranks.world > 1:
        raise UserError(
            f"freeze all solves for the classifier in one process, here are {ranks.world}: start it without torchrun"
        )
    if tuning is not None and tuning.norm_momentum is not None:
        set_momentum_(network, tuning.norm_momentum)
    set_stochastic_depth_(network, recipe.stochastic_depth)
    if recipe.sync_bn and ranks.world > 1:
        synchronise_(network)
    average = None if head_only else make_average(network, recipe.averaging, loader.steps)
    bfloat16 = precision.bfloat16
    labels = LabelLoss.of(recipe.loss, loader.labels, spec.head.outputs, device)
    distiller = None
    if lesson is not None:
        distiller = make_distiller(lesson, network, loader, normalise, labels, mark, bfloat16=bfloat16)
    beside = None if distiller is None else distiller.projections
    for module in (network, beside):
        if module is not None:
            ranks.same_(module.state_dict().values())
    optimiser = None if head_only else make_optimiser(network, recipe.optimiser, tuning, beside)
    session = Session(network, optimiser, average, beside)
    if start is not None:
        session.elapsed = time.perf_counter() - began  # adopting weights counts as training time
    kind = HeadTraining if head_only else StepTraining
    training = kind(
        run,
        spec,
        dataset,
        parts,
        recipe,
        loader,
        session,
        normalise,
        minutes=arguments.minutes,
        bfloat16=bfloat16,
        ranks=ranks,
    )
    training.loss_of = distiller or labels
    return training
