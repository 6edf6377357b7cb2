"""A recipe: every setting of a training but the data and the network, as nested frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ..data.augment import Augmentation
from ..errors import UserError
from .distillation import Distillation


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


NormStats = Literal["train", "keep", "refresh"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a training treats the weights that it begins from.

    `freeze`: `none`; a tap (`c1` ... `c5`), up to which blocks keep weights and BatchNorm statistics; `all`: the whole
    network but the classifier, which is then fitted to cached features. `layer_decay` D: the learning rate times D for
    each block from the head down. `unfreeze` P: the head trains alone, then block after block thaws from the top, all
    by the part P of the training; 0: all from the start. `norm_stats`: BatchNorm trains as usual, keeps the statistics
    of the weights, or keeps statistics that are estimated once on the training images. `norm_momentum` is torch's, for
    the training alone. `head_lr` times the learning rate is the head's. `probe`: a fresh classifier begins as the best
    one on the features of the weights (Kumar et al. 2022, "Fine-tuning can distort pretrained features").
    """

    freeze: str = "none"
    layer_decay: float = 1.0
    unfreeze: float = 0.0
    norm_stats: NormStats = "train"
    norm_momentum: float | None = None  # None: the network's own
    head_lr: float = 1.0
    probe: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training. `ema_epochs` is the length over which weights are averaged, in epochs; 0: none.

    `tuning` is None where a training begins from random weights, `distillation` where it has no teacher.
    """

    name: str
    epochs: int = 60
    batch_size: int = 64
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_smoothing: float = 0.1
    ema_epochs: float = 1.0
    train_resolution: float = 1.0  # of the network's resolution; less is quicker, see `default`
    store: float = (
        1.15  # decoded images are kept at this multiple of the resolution; 0: each crop is decoded for itself
    )
    progressive: float = 1.0  # of the training resolution at first, growing to all of it by the middle; 1: no growing
    tuning: Tuning | None = None
    distillation: Distillation | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def default() -> Recipe:
    """What trains well from scratch on small and middle-sized sets.

    Command: `mobilenets train DATA --model mobilenet_v3_small --out RUN`. AdamW with a cosine, random resized crops,
    flips, a little rotation and colour, label smoothing and averaged weights. It trains at 7/8 of the resolution it is
    scored at: a random crop shows things larger than the centre crop does (Touvron et al. 2019, "Fixing the train-test
    resolution discrepancy"), and a step takes a quarter less.
    """
    return Recipe(
        name="default", train_resolution=0.875, augmentation=Augmentation(rotate=20.0, colour=0.4, hue=0.03, grey=0.1)
    )


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


def small_pictures() -> Recipe:
    """For pictures of up to 48 pixels, as CIFAR's: hardly smaller crops, no rotation, which would only blur them."""
    return Recipe(name="small_pictures", augmentation=Augmentation(scale=(0.5, 1.0), colour=0.3))


LOW_BLOCKS = "c3"  # the tap up to which `transfer` freezes; a network without it trains whole


def transfer() -> Recipe:
    """From weights that have learnt something else: what training with --weights does by itself.

    Command: `mobilenets train DATA --weights WEIGHTS --out RUN`. A fresh classifier is fitted to the features first, so
    that the first steps do not shake what the network knows; then everything above stride 8 trains at a low learning
    rate, warmed up, with averaged weights. The lowest blocks (of V2: 38 % of the multiply-adds, 1.6 % of the weights)
    stay as they are: in the same time twice as many passes go over the rest, which was better on each set measured.
    benchmarks/transfer.py compares it with the other ways, docs/decisions.md has the table.
    """
    return Recipe(
        name="transfer",
        batch_size=32,
        optimiser=Optimiser(lr=1e-3, weight_decay=0.05),
        schedule=Schedule(warmup=0.1),
        augmentation=Augmentation(rotate=15.0, colour=0.3, hue=0.02, grey=0.05),
        train_resolution=0.875,
        tuning=Tuning(freeze=LOW_BLOCKS, probe=True, norm_momentum=0.1),
    )


def transfer_epochs(images: int) -> int:
    """Passes over that many training images that fine-tuning takes: 20,000 images in all, 8 to 40 passes."""
    return min(max(round(20_000 / max(images, 1)), 8), 40)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "small_pictures": small_pictures,
    "strong": strong,
    "sgd": sgd,
    "transfer": transfer,
}
AUTO = "auto"  # transfer with weights; else small_pictures up to SMALL pixels, default above
SMALL = 48


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Settings that take the place of a recipe's own; None keeps it."""

    epochs: int | None = None
    batch_size: int | None = None
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


TUNED = ("freeze", "layer_decay", "unfreeze", "norm_stats")  # changes that go with weights alone


def choose_recipe(name: str, resolution: int, changes: Changes, *, weights: bool = False) -> Recipe:
    """The recipe of that name, or the one that fits for `auto`, with the changes made.

    `weights`: the training begins from some; `tuning` is set then, whatever the recipe. Raises UserError, naming the
    value and what is allowed.
    """
    if name == AUTO:
        name = "transfer" if weights else "small_pictures" if resolution <= SMALL else "default"
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}; allowed: {AUTO}, {', '.join(RECIPES)}")
    _check(changes)
    recipe = RECIPES[name]()
    if changes.optimizer is not None and changes.optimizer != recipe.optimiser.name:
        other = default() if changes.optimizer == "adamw" else sgd()
        recipe = replace(recipe, optimiser=other.optimiser)
    if weights and resolution <= SMALL:
        recipe = replace(recipe, augmentation=small_pictures().augmentation)
    return replace(
        recipe,
        tuning=_tuning(recipe.tuning or Tuning(), changes) if weights else None,
        optimiser=_with(recipe.optimiser, changes, ("lr", "weight_decay")),
        augmentation=_with(recipe.augmentation, changes, ("flip", "randaugment", "mixup", "cutmix")),
        **_given(changes, ("epochs", "batch_size", "label_smoothing", "progressive")),
    )


def _tuning(tuning: Tuning, changes: Changes) -> Tuning:
    if changes.freeze == "all" and changes.norm_stats is None:
        tuning = replace(tuning, norm_stats="keep")  # nothing is trained that could move them
    return replace(tuning, **_given(changes, TUNED))


def _check(changes: Changes) -> None:
    if changes.norm_stats not in (None, *get_args(NormStats)):
        raise UserError(f"unknown norm stats {changes.norm_stats!r}; allowed: {', '.join(get_args(NormStats))}")
    if changes.optimizer not in (None, "adamw", "sgd"):
        raise UserError(f"unknown optimizer {changes.optimizer!r}; allowed: adamw, sgd")
    bounds: dict[str, tuple[Callable[[float], bool], str]] = {
        "epochs": (lambda v: v >= 1, "1 or more"),
        "batch_size": (lambda v: v >= 2, "2 or more"),
        "lr": (lambda v: 0 < v < 100, "above 0 and below 100"),
        "weight_decay": (lambda v: 0 <= v < 10, "0 or more and below 10"),
        "label_smoothing": (lambda v: 0 <= v < 1, "0 or more and below 1"),
        "randaugment": (lambda v: 0 <= v <= 10, "0 (none) to 10 operations"),
        "mixup": (lambda v: 0 <= v <= 10, "0 (none) to 10"),
        "cutmix": (lambda v: 0 <= v <= 10, "0 (none) to 10"),
        "progressive": (lambda v: 0.25 <= v <= 1, "0.25 to 1 (the same resolution in all epochs)"),
        "layer_decay": (lambda v: 0 < v <= 1, "above 0 and at most 1 (none)"),
        "unfreeze": (lambda v: 0 <= v <= 1, "0 (all from the start) to 1"),
    }
    for name, (fits, allowed) in bounds.items():
        value = getattr(changes, name)
        if value is not None and not fits(value):
            raise UserError(f"{name.replace('_', ' ')} {value:g} is out of range: allowed is {allowed}")


def _given(changes: Changes, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(changes, name) for name in names if getattr(changes, name) is not None}


def _with(part: Any, changes: Changes, names: tuple[str, ...]) -> Any:
    return replace(part, **_given(changes, names))
