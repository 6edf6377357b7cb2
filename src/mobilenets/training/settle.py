"""What the arguments of a training come to: they are checked, and become a recipe for the network and the data."""

from __future__ import annotations

from dataclasses import replace

from ..arch.check import check_choice, check_count
from ..arch.spec import PROFILES, Spec
from ..console import say
from ..errors import UserError
from .begin import Arguments
from .choose import SMALL, TUNED, choose_recipe, settled
from .distillation import choose_distillation
from .epochs import NO_LIMIT
from .head_only import HeadTraining
from .precision import check_precision
from .recipe import Recipe
from .recipes.own import transfer_epochs
from .start import FREEZE_WORDS, check_tuning


def check_arguments(arguments: Arguments) -> None:
    """Raises UserError, naming the value and what is allowed, for what can be told without data and weights."""
    check_precision(arguments.precision)
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise UserError(f"minutes {arguments.minutes:g} is out of range: allowed is above 0")
    if arguments.profile is not None:
        check_choice("profile", arguments.profile, PROFILES)
        if arguments.weights is not None:
            raise UserError(f"profile {arguments.profile} goes with a model that is built anew; weights have their own")
    if arguments.reparam is not None:
        check_count("reparam", arguments.reparam, 0, " (0: the plain network)")
        if arguments.weights is not None:
            raise UserError(f"reparam {arguments.reparam} goes with a model that is built anew; weights have their own")
    choose_recipe(arguments.recipe, SMALL, arguments.changes, weights=arguments.weights is not None)
    if arguments.weights is None:
        for name in TUNED:
            if getattr(arguments.changes, name) is not None:
                raise UserError(f"{name.replace('_', ' ')} goes with weights to begin from: give --weights")
        if arguments.recipe == "transfer":
            raise UserError("recipe transfer goes with weights to begin from: give --weights, or another recipe")
    check_tuning(arguments.changes)
    choose_distillation(arguments.teaching, None)


def check_pieces(recipe: Recipe, processes: int) -> None:
    """Raises UserError where a batch is too small for its pieces: BatchNorm needs two images in each."""
    least = 2 * recipe.accumulate * processes
    if recipe.batch_size < least:
        pieces = f"{processes} processes" if recipe.accumulate == 1 else f"accumulate {recipe.accumulate}"
        if recipe.accumulate > 1 and processes > 1:
            pieces += f" in {processes} processes"
        raise UserError(
            f"batch size {recipe.batch_size} is too small for {pieces}, two images at least in each piece: allowed is "
            f"{least} or more"
        )


def settings_of(arguments: Arguments, spec: Spec, images: int) -> Recipe:
    """The recipe for the data; where the clock ends the training, and nothing else, its epochs have no limit."""
    weights = arguments.weights is not None
    settings = choose_recipe(arguments.recipe, spec.resolution, arguments.changes, weights=weights)
    if settings.tuning is not None and settings.tuning.freeze not in (*FREEZE_WORDS, *(tap.name for tap in spec.taps)):
        settings = replace(settings, tuning=replace(settings.tuning, freeze="none"))
    settings = replace(settings, distillation=choose_distillation(arguments.teaching, settings.distillation))
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
