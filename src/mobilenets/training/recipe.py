"""A recipe: every setting of a training but the data and the network, as nested frozen dataclasses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..arch.check import check_count, check_number
from ..data.augment import Augmentation
from ..data.sampling import Sampling
from ..errors import UserError
from ..tasks.losses import Loss
from .distillation import Distillation
from .settings import from_plain


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How weights follow the gradient.

    `lr` is the peak for `batch` images a step (none: the recipe's `batch_size`). Trained with another batch it follows:
    in proportion for sgd and rmsprop_tf, by the square root for adamw, as `scaling` `auto` says; `none` leaves it.
    `weight_decay` is adamw's own, decoupled one, and elsewhere L2: added to the gradient. `decay` says which weights it
    acts on: `all`; `no_norm` leaves out BatchNorm, biases and layer scale; `no_norm_no_depthwise` depthwise kernels
    too. `l2` is added to the gradient beside adamw's, of those that decay but depthwise kernels, as V4's authors do.
    `clip_norm` bounds the norm of the whole gradient, `clip_value` each number of it; 0: none.
    """

    name: Literal["adamw", "sgd", "rmsprop_tf"] = "adamw"
    lr: float = 2e-3
    batch: int | None = None
    scaling: Literal["auto", "linear", "sqrt", "none"] = "auto"
    weight_decay: float = 0.05
    l2: float = 0.0
    decay: Literal["all", "no_norm", "no_norm_no_depthwise"] = "no_norm"
    momentum: float = 0.9  # sgd, with Nesterov's correction; rmsprop_tf
    betas: tuple[float, float] = (0.9, 0.99)  # adamw
    rho: float = 0.9  # rmsprop_tf: how slowly the mean square of the gradient changes
    eps: float = 1e-8  # adamw; rmsprop_tf, inside the root
    clip_norm: float = 5.0
    clip_value: float = 0.0

    def __post_init__(self) -> None:
        check_number("lr", self.lr, above=0, below=100)
        if self.batch is not None:
            check_count("optimiser batch", self.batch, 1)
        for name in ("weight_decay", "l2"):
            check_number(name.replace("_", " "), getattr(self, name), least=0, below=10)
        for name, value in (("momentum", self.momentum), ("rho", self.rho), *(("betas", beta) for beta in self.betas)):
            check_number(f"optimiser {name}", value, least=0, below=1)
        check_number("optimiser eps", self.eps, above=0, most=10)
        for name in ("clip_norm", "clip_value"):
            check_number(name.replace("_", " "), getattr(self, name), least=0)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the training; `schedule.learning_rate` has the formulas.

    It rises over the part `warmup` of the training, or over `warmup_epochs` where that is above 0, then goes `final`
    times the peak by a `cosine`; stays `constant`; falls to `factor` times itself every `every` epochs, at once
    (`step`) or smoothly (`exponential`); stays for the part `flat` and then falls by a cosine (`flat_cosine`); or makes
    `one_cycle` from `start` times the peak up and down to `final` (Smith & Topin 2018).
    `epochs` that the whole stands for, none: the recipe's; where the clock alone ends a training, the recipe's own
    number, so that it goes through the whole schedule in the minutes given.
    """

    name: Literal["cosine", "constant", "step", "exponential", "one_cycle", "flat_cosine"] = "cosine"
    warmup: float = 0.05
    warmup_epochs: float = 0.0
    final: float = 0.0
    factor: float = 0.1
    every: float = 30.0
    flat: float = 0.7
    start: float = 0.04
    epochs: int | None = None

    def __post_init__(self) -> None:
        check_number("schedule warmup", self.warmup, least=0, below=1)
        for name in ("warmup_epochs", "final", "start", "flat"):
            most = {"final": 1.0, "start": 1.0, "flat": 1.0}.get(name)
            check_number(f"schedule {name.replace('_', ' ')}", getattr(self, name), least=0, most=most)
        check_number("schedule factor", self.factor, above=0, most=1)
        check_number("schedule every", self.every, above=0)
        if self.epochs is not None:
            check_count("schedule epochs", self.epochs, 1)


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """The exponential moving average of weights that is scored and kept, by the decay of its step t = 1, 2, ...

    `window`: up to 1 - 1 / steps of `epochs` epochs, ramped. `constant`: `decay`. `ramp`: `decay`, but at most
    (1 + t) / (10 + t), as TensorFlow's `ExponentialMovingAverage` with `num_updates`. `power`: `decay`, but at most
    1 - (1 + t) ** (-2 / 3), as timm's `ModelEmaV3` with warm-up. Up to step `start` it is the weights themselves.
    """

    rule: Literal["none", "window", "constant", "ramp", "power"] = "window"
    epochs: float = 1.0
    decay: float = 0.9999
    start: int = 0

    def __post_init__(self) -> None:
        check_number("averaging epochs", self.epochs, above=0)
        check_number("averaging decay", self.decay, least=0, below=1)
        check_count("averaging start", self.start, 0)


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

    def __post_init__(self) -> None:
        check_number("layer decay", self.layer_decay, above=0, most=1)
        check_number("unfreeze", self.unfreeze, least=0, most=1)
        check_number("head lr", self.head_lr, above=0)
        if self.norm_momentum is not None:
            check_number("norm momentum", self.norm_momentum, above=0, most=1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training.

    A batch is that of all processes together. `accumulate` N: each passes its part in N pieces, one after the other, in
    an N-th of the memory; BatchNorm sees a piece at a time. `sync_bn`: BatchNorm's statistics are those of the pieces
    of all processes, not each process's own. `stochastic_depth` is the probability that the last residual branch is
    dropped for an image; it rises in even steps from block to block (Huang et al. 2016). `tuning` is None where a
    training begins from random weights, `distillation` where it has no teacher.
    """

    name: str
    epochs: int = 60
    batch_size: int = 64
    accumulate: int = 1
    sync_bn: bool = False
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sampling: Sampling = field(default_factory=Sampling)
    loss: Loss = field(default_factory=Loss)
    label_smoothing: float = 0.1
    averaging: Averaging = field(default_factory=Averaging)
    stochastic_depth: float = 0.0
    train_resolution: float = 1.0  # of the network's resolution; less is quicker, see `default`
    store: float = 1.15  # decoded images are kept at this multiple of the resolution; 0: each crop is decoded anew
    progressive: float = 1.0  # of the training resolution at first, growing to all of it by the middle; 1: no growing
    tuning: Tuning | None = None
    distillation: Distillation | None = None

    def __post_init__(self) -> None:
        check_count("epochs", self.epochs, 1)
        check_count("batch size", self.batch_size, 2)
        check_count("accumulate", self.accumulate, 1)
        check_number("label smoothing", self.label_smoothing, least=0, below=1)
        check_number("stochastic depth", self.stochastic_depth, least=0, below=1)
        check_number("train resolution", self.train_resolution, above=0, most=1)
        check_number("store", self.store, least=0, most=8)
        check_number("progressive", self.progressive, least=0.25, most=1)
        if self.batch_size % self.sampling.repeats:
            raise UserError(
                f"batch size {self.batch_size} is no multiple of sampling.repeats {self.sampling.repeats}: "
                "each image stands in a batch that many times"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """The recipe that `to_json` gave; what is left out is as in `Recipe`. Raises UserError naming what is wrong."""
        if isinstance(data, dict) and "ema_epochs" in data:  # of Runs from before there were other rules
            epochs = data["ema_epochs"]
            averaging = {"epochs": epochs} if epochs else {"rule": "none"}
            data = {key: value for key, value in data.items() if key != "ema_epochs"} | {"averaging": averaging}
        return from_plain(cls, data)
