"""From what a user asks for to the recipe that trains: a name or a file, changes to it, and the batch it meets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..arch.check import check_choice
from ..errors import UserError
from ..suggest import near
from .recipe import NormStats, Optimiser, Recipe, Tuning
from .recipes import ALIASES, RECIPES
from .recipes.own import sgd, small_pictures
from .run import read_json
from .settings import from_plain, read_setting, read_word

AUTO = "auto"  # transfer with weights; else small_pictures up to SMALL pixels, default above
SMALL = 48
# What takes the place of a recipe's optimiser of another name, with settings that suit `default`'s batches.
OPTIMISERS = {
    "adamw": Optimiser(),
    "sgd": sgd().optimiser,
    "rmsprop_tf": Optimiser(name="rmsprop_tf", lr=4e-3, weight_decay=1e-5, eps=1e-3),
}


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What takes the place of a recipe's own settings; None keeps it. `set`: `NAME=VALUE`."""

    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    sync_bn: bool | None = None
    optimizer: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    flip: bool | None = None
    randaugment: int | None = None
    mixup: float | None = None
    cutmix: float | None = None
    progressive: float | None = None
    freeze: str | None = None
    layer_decay: float | None = None
    unfreeze: float | None = None
    norm_stats: str | None = None
    set: tuple[str, ...] | None = None


# Where a change's setting stands in the recipe.
PLACES = {
    "epochs": "epochs",
    "batch_size": "batch_size",
    "accumulate": "accumulate",
    "sync_bn": "sync_bn",
    "optimizer": "optimiser.name",
    "lr": "optimiser.lr",
    "weight_decay": "optimiser.weight_decay",
    "label_smoothing": "label_smoothing",
    "flip": "augmentation.flip",
    "randaugment": "augmentation.randaugment",
    "mixup": "augmentation.mixup",
    "cutmix": "augmentation.cutmix",
    "progressive": "progressive",
    "freeze": "tuning.freeze",
    "layer_decay": "tuning.layer_decay",
    "unfreeze": "tuning.unfreeze",
    "norm_stats": "tuning.norm_stats",
}
TUNED = ("freeze", "layer_decay", "unfreeze", "norm_stats")  # changes that go with weights alone


def with_settings(changes: Changes, words: Iterable[str]) -> Changes:
    """`changes` with `NAME=VALUE` added; a name that has a field of its own fills that. Raises UserError, one line."""
    own = {place: name for name, place in PLACES.items()}
    hints = get_type_hints(Changes)
    rest: dict[str, str] = {}
    for pair in words:
        name, equals, word = (part.strip() for part in pair.partition("="))
        if not (name and equals and word):
            raise UserError(f"--set {pair!r}: write NAME=VALUE, such as schedule.name=step")
        if name in rest or (name in own and getattr(changes, own[name]) is not None):
            raise UserError(f"{name} is given twice, the second time as {word!r}: leave one of the two out")
        if name in own:
            changes = replace(changes, **{own[name]: read_word(hints[own[name]], word, name)})
        else:
            rest[name] = word
    return replace(changes, set=tuple(f"{name}={word}" for name, word in rest.items()) or None)


def choose_recipe(name: str, resolution: int, changes: Changes, *, weights: bool = False) -> Recipe:
    """The recipe of that name or in that JSON file, or the one that fits for `auto`, with the changes made.

    `weights`: the training begins from some; `tuning` is set then, whatever the recipe. Where the batch is changed and
    the learning rate is not, `optimiser.batch` keeps what the learning rate was for; see `settled`.
    Raises UserError, naming the value and what is allowed.
    """
    recipe = _named(name, resolution, weights=weights)
    if weights and resolution <= SMALL:
        recipe = replace(recipe, augmentation=small_pictures().augmentation)
    recipe = replace(recipe, tuning=_tuning(recipe.tuning or Tuning(), changes) if weights else None)
    if changes.optimizer is not None and changes.optimizer != recipe.optimiser.name:
        if changes.optimizer not in OPTIMISERS:
            raise UserError(f"unknown optimizer {changes.optimizer!r}; allowed: {', '.join(OPTIMISERS)}")
        recipe = replace(recipe, optimiser=OPTIMISERS[changes.optimizer])
    optimiser = replace(recipe.optimiser, batch=recipe.optimiser.batch or recipe.batch_size)
    if changes.lr is not None:
        optimiser = replace(optimiser, batch=None, scaling="none")
    elif changes.batch_size in (None, recipe.batch_size):
        optimiser = recipe.optimiser
    pairs = {PLACES[k]: v for k, v in asdict(changes).items() if k in PLACES and k not in TUNED and v is not None}
    settings = dict(pair.split("=", 1) for pair in changes.set or ())
    return _changed(replace(recipe, optimiser=optimiser), pairs, settings)


def settled(recipe: Recipe, images: int) -> tuple[Recipe, str | None]:
    """The recipe for that many training images, no batch with more, and what to say of its learning rate, if any."""
    batch = min(recipe.batch_size, max(images, 1))
    optimiser = recipe.optimiser
    repeats = recipe.sampling.repeats
    if batch < recipe.batch_size:
        batch = max(batch - batch % repeats, 2)
    reference = optimiser.batch or recipe.batch_size
    rule = optimiser.scaling
    if rule == "auto":
        rule = "sqrt" if optimiser.name == "adamw" else "linear"
    factor = 1.0 if rule == "none" else (batch / reference) ** (0.5 if rule == "sqrt" else 1.0)
    if factor == 1.0:
        return replace(recipe, batch_size=batch, optimiser=replace(optimiser, batch=None)), None
    lr = optimiser.lr * factor
    by = f"{batch}/{reference}" if rule == "linear" else f"the square root of {batch}/{reference}"
    note = (
        f"learning rate {lr:.4g}: {optimiser.lr:g} times {by}, for batches of {batch} "
        "(--lr sets another, --set optimiser.scaling=none leaves it)"
    )
    return replace(recipe, batch_size=batch, optimiser=replace(optimiser, lr=lr, batch=None)), note


def is_file(name: str) -> bool:
    """Whether a recipe is named by a file's path."""
    return name.endswith(".json") or os.sep in name


def file_sha256(name: str) -> str | None:
    """The SHA-256 of a recipe's file, None for one of the named recipes."""
    if not is_file(name):
        return None
    read_json(Path(name))
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def _named(name: str, resolution: int, *, weights: bool) -> Recipe:
    if name == AUTO:
        name = "transfer" if weights else "small_pictures" if resolution <= SMALL else "default"
    if is_file(name):
        return _from_file(Path(name))
    known = ALIASES.get(name, name)
    if known not in RECIPES:
        allowed = f"; allowed: {', '.join((AUTO, *RECIPES, *ALIASES))}, or a .json file"
        raise UserError(f"unknown recipe {name!r}{near(name, [*RECIPES, *ALIASES]) or allowed}")
    return RECIPES[known]()


def _from_file(path: Path) -> Recipe:
    """A recipe as `to_json` gives it, or a Run's recipe.json."""
    data = read_json(path)
    if isinstance(data, dict) and isinstance(data.get("recipe"), dict):
        data = data["recipe"]
    if not isinstance(data, dict):
        raise UserError(f"{path}: no recipe: expected an object of settings, as in a Run's recipe.json")
    try:
        return Recipe.from_json({"name": path.stem} | data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _changed(recipe: Recipe, pairs: dict[str, Any], words: dict[str, str]) -> Recipe:
    """All at once, so that settings that fit together only when all are there are not refused one by one."""
    pairs = pairs | {name: read_setting(recipe, name, word) for name, word in words.items()}
    if pairs.get("augmentation.autoaugment", "none") != "none":
        pairs = {"augmentation.randaugment": 0} | pairs  # the policy takes RandAugment's place
    data = recipe.to_json()
    for place, value in pairs.items():
        *groups, last = place.split(".")
        inner = data
        for group in groups:
            inner = inner[group]
        inner[last] = value
    return Recipe.from_json(data)


def _tuning(tuning: Tuning, changes: Changes) -> Tuning:
    if changes.norm_stats is not None:
        check_choice("norm stats", changes.norm_stats, get_args(NormStats))
    given = {name: getattr(changes, name) for name in TUNED if getattr(changes, name) is not None}
    if given.get("freeze") == "all" and "norm_stats" not in given:
        given["norm_stats"] = "keep"  # nothing is trained that could move them
    return from_plain(Tuning, asdict(tuning) | given, "tuning")
