"""A recipe: every setting of a training but the data and the network, as nested frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..data.augment import Augmentation
from ..errors import UserError


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """`lr` is the peak for `batch_size` images a step; decay leaves BatchNorm and biases out."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9  # sgd, with Nesterov's correction
    betas: tuple[float, float] = (0.9, 0.99)  # adamw
    clip_norm: float = 5.0  # of the whole gradient; 0: none


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up over the part `warmup` of the training, then a cosine down to `final` times the peak."""

    warmup: float = 0.05
    final: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training. `ema_epochs` is the length over which weights are averaged, in epochs; 0: none."""

    name: str
    epochs: int = 60
    batch_size: int = 64
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_smoothing: float = 0.1
    ema_epochs: float = 1.0
    dropout: float | None = None  # None: the architecture's own
    store: float = 1.15  # decoded images are kept at this multiple of the resolution

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def default() -> Recipe:
    """What trains well from scratch on small and middle-sized sets.

    Command: `mobilenets train DATA --model mobilenet_v3_small --out RUN`. AdamW with a cosine, random resized crops,
    flips, a little rotation and colour, label smoothing and averaged weights.
    """
    return Recipe(name="default", augmentation=Augmentation(rotate=10.0, colour=0.4, grey=0.05))


def strong() -> Recipe:
    """For longer trainings and sets whose test images look different: RandAugment, erasing, cutmix and mixup."""
    base = default()
    return replace(
        base,
        name="strong",
        epochs=120,
        augmentation=replace(
            base.augmentation, rotate=20.0, hue=0.04, grey=0.1, erase=0.25, randaugment=2, mixup=0.2, cutmix=1.0
        ),
    )


def sgd() -> Recipe:
    """The classic: SGD with Nesterov momentum, cosine, crops and flips, as most published baselines train."""
    return Recipe(
        name="sgd",
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=5e-4),
        augmentation=Augmentation(colour=0.2),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"default": default, "strong": strong, "sgd": sgd}


def named_recipe(
    name: str, *, epochs: int | None = None, batch_size: int | None = None, lr: float | None = None
) -> Recipe:
    """The recipe of that name with the given settings in place of its own. Raises UserError on a bad value."""
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}; allowed: {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    if epochs is not None:
        if epochs < 1:
            raise UserError(f"epochs {epochs} is out of range: allowed is 1 or more")
        recipe = replace(recipe, epochs=epochs)
    if batch_size is not None:
        if batch_size < 2:
            raise UserError(f"batch size {batch_size} is out of range: allowed is 2 or more")
        recipe = replace(recipe, batch_size=batch_size)
    if lr is not None:
        if not 0 < lr < 100:
            raise UserError(f"lr {lr:g} is out of range: allowed is above 0 and below 100")
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, lr=lr))
    return recipe
