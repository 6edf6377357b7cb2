"""`train`: from labelled images to a finished Run, resumed by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..arch.registry import create_spec
from ..arch.spec import Spec
from ..console import progress as progress_bar
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.fingerprint import fingerprint
from ..data.loader import Images, Loader
from ..data.roles import Roles, roles
from ..data.sampling import Sampling
from ..data.shards import is_streamed
from ..data.stream import StreamLoader
from ..errors import UserError
from ..nn.kernels.memory import kept_memory
from ..nn.network import build_network
from ..nn.placement import placed
from ..nn.refold import set_momentum_
from ..nn.stochastic_depth import set_stochastic_depth_
from .adopt import adopt, adopted_spec, spec_to_train
from .average import make_average
from .begin import Arguments, choose_device, claim, describe, make_spec, write_beginning
from .choose import SMALL, TUNED, choose_recipe, file_sha256, settled
from .epochs import NO_LIMIT, Training, seconds_left
from .find_lr import find_lr
from .freeze import Freezing
from .head_only import HeadTraining
from .loop import Normaliser, train_epoch
from .optimise import make_optimiser
from .recipe import Recipe
from .recipes.own import transfer_epochs
from .run import LAST, RECIPE, is_run, read_json
from .session import Session
from .start import FREEZE_WORDS, Start, check_fits, check_tuning
from .tensorboard import Events

PRECISIONS = ("float32", "bfloat16")


def run_training(
    arguments: Arguments,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    restart: bool = False,
    start: Start | None = None,
    range_test: bool = False,
) -> dict[str, Any]:
    """Trains as `arguments` say and leaves a Run at `out`, or goes on with it. Returns what `train --json` prints.

    With `range_test` it sweeps the learning rate instead, see `find_lr`, and leaves a Run at `out` as it is.
    `start` holds the weights that `arguments.weights` names. Bad values raise UserError before the data is read.
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
        if run.resolve() in (Path(start.name).resolve(), *Path(start.name).resolve().parents):
            raise UserError(f"{run}: holds the weights to begin from; choose another --out")
        arguments = replace(arguments, weights_sha256=start.sha256)
    arguments = replace(arguments, recipe_sha256=file_sha256(arguments.recipe))
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
        settings = _settings(arguments, spec, len(parts.train))
    if start is not None:
        spec = spec_to_train(start, spec, settings)
    describe(spec, dataset, parts)
    memory = kept_memory() if placement.type == "cpu" else nullcontext()
    if range_test:
        mark = fingerprint(dataset)
        with memory:
            return find_lr(_make(run / "none", spec, dataset, parts, settings, arguments, placement, start, mark), run)
    mark = write_beginning(run, arguments, spec, dataset, parts, settings, start)
    with memory:
        return _make(run, spec, dataset, parts, settings, arguments, placement, start, mark).result()


def check_arguments(arguments: Arguments) -> None:
    """Raises UserError, naming the value and what is allowed, for what can be told without data and weights."""
    if arguments.precision not in PRECISIONS:
        raise UserError(f"unknown precision {arguments.precision!r}; allowed: {', '.join(PRECISIONS)}")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise UserError(f"minutes {arguments.minutes:g} is out of range: allowed is above 0")
    choose_recipe(arguments.recipe, SMALL, arguments.changes, weights=arguments.weights is not None)
    if arguments.weights is None:
        for name in TUNED:
            if getattr(arguments.changes, name) is not None:
                raise UserError(f"{name.replace('_', ' ')} goes with weights to begin from: give --weights")
        if arguments.recipe == "transfer":
            raise UserError("recipe transfer goes with weights to begin from: give --weights, or another recipe")
    check_tuning(arguments.changes)


def training_resolution(resolution: int, fraction: float) -> int:
    """The side of the training images: that fraction of the resolution, to a multiple of 16 where it is less."""
    return resolution if fraction >= 1 else min(resolution, max(32, round(resolution * fraction / 16) * 16))


def growing_resolution(resolution: int, progressive: float, epochs: int) -> Callable[[int], int]:
    """The side of the training images as a function of the epoch, 0 to `epochs` - 1.

    It begins at the part `progressive` of the resolution and grows linearly to the whole, which it has from the middle
    on (Tan & Le 2021, "EfficientNetV2", section 4, without their growing regularisation).
    """

    def side(epoch: int) -> int:
        grown = min(2 * epoch / epochs, 1.0)
        return training_resolution(resolution, progressive + (1 - progressive) * grown)

    return side


def _settings(arguments: Arguments, spec: Spec, images: int) -> Recipe:
    """The recipe for the data; where the clock ends the training, and nothing else, its epochs have no limit."""
    weights = arguments.weights is not None
    settings = choose_recipe(arguments.recipe, spec.resolution, arguments.changes, weights=weights)
    if settings.tuning is not None and settings.tuning.freeze not in (*FREEZE_WORDS, *(tap.name for tap in spec.taps)):
        settings = replace(settings, tuning=replace(settings.tuning, freeze="none"))
    head_only = settings.tuning is not None and settings.tuning.freeze == "all"
    settings, note = settled(settings, images)
    if note is not None and not head_only:
        say(note)
    if arguments.changes.epochs is not None:
        return settings
    if head_only:
        return replace(settings, epochs=HeadTraining.copies(spec, images))
    if settings.name == "transfer":
        settings = replace(settings, epochs=transfer_epochs(images))
    if arguments.minutes is not None:
        if settings.progressive < 1:
            raise UserError(
                f"progressive {settings.progressive:g} goes by the epochs, of which minutes alone set no number: "
                "give --epochs too"
            )
        schedule = replace(settings.schedule, epochs=settings.schedule.epochs or settings.epochs)
        return replace(settings, epochs=NO_LIMIT, schedule=schedule)
    return settings


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
) -> Training:
    """The training, its network new or with the weights to begin from."""
    resolution = training_resolution(spec.resolution, recipe.train_resolution)
    loader = _make_loader(
        Images(dataset, parts.train, round(spec.resolution * recipe.store) or None, fingerprint=mark),
        recipe,
        growing_resolution(resolution, recipe.progressive, recipe.epochs) if recipe.progressive < 1 else resolution,
        arguments.seed,
    )
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
    session = Session(network, None if head_only else make_optimiser(network, recipe.optimiser, tuning), average)
    if start is not None:
        session.elapsed = time.perf_counter() - began  # adopting weights counts as training time
    kind = HeadTraining if head_only else _Training
    bfloat16 = arguments.precision == "bfloat16"
    return kind(
        run, spec, dataset, parts, recipe, loader, session, normalise, minutes=arguments.minutes, bfloat16=bfloat16
    )


def _make_loader(images: Images, recipe: Recipe, resolution: int | Callable[[int], int], seed: int) -> Loader:
    """The loader for the recipe; shards are read in an order of their own. Raises UserError where that does not fit."""
    augmentation, batch = recipe.augmentation, recipe.batch_size
    if not is_streamed(images.dataset):
        return Loader(
            images,
            batch_size=batch,
            resolution=resolution,
            augmentation=augmentation,
            seed=seed,
            sampling=recipe.sampling,
        )
    for name, value in asdict(recipe.sampling).items():
        if value != getattr(Sampling(), name):
            raise UserError(
                f"sampling.{name} {value:g} needs images in any order, and shards are read as a stream: leave it out "
                "(loss.class_weights is for classes of unequal size too)"
            )
    return StreamLoader(images, batch_size=batch, resolution=resolution, augmentation=augmentation, seed=seed)


class _Training(Training):
    """Training by steps down the gradient."""

    def train(self) -> None:
        """Epoch after epoch until they or the minutes are over."""
        session, recipe = self.session, self.recipe
        elapsed = self.clock()
        assert session.optimiser is not None
        freezing = None if recipe.tuning is None else Freezing(session.network, recipe.tuning)

        def part_done(step: int) -> float:
            by_steps = (session.epoch + step / self.loader.steps) / recipe.epochs
            return max(by_steps, elapsed() / self.limit if self.limit else 0.0)

        def keep_going() -> bool:
            return self.limit is None or elapsed() < self.limit

        def on_step(step: int, loss: float, speed: float) -> None:
            left = seconds_left(part_done(step), elapsed())
            note = f"{speed:.0f} images/s  loss {loss:.3f}{self.last_score()}  {left} left"
            bar.update(task, completed=step, note=note, description=f"epoch {session.epoch + 1}{self.total}")

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
                    freezing=freezing,
                )
                self.finish_epoch(outcome, elapsed)
                if session.history:
                    events.log(session.history[-1], time.time())
        self.finish(elapsed())
