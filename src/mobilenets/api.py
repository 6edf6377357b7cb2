"""The Python side of the verbs that stand on several layers: `create_model`, `cost` and `train`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .arch import adapt
from .arch.cost import Cost
from .arch.cost import cost as cost_of
from .arch.registry import create_spec
from .arch.spec import Spec
from .errors import UserError

if TYPE_CHECKING:
    from .nn.network import Network
    from .training.start import Start

MODEL = "mobilenet_v3_small"  # where neither a model nor weights are named


def create_model(
    name: str,
    *,
    width: float | None = None,
    resolution: int | None = None,
    classes: int = 1000,
    in_channels: int = 3,
    dropout: float | None = None,
) -> Network:
    """A new network with random weights; for rarer settings see `arch.registry.create_spec` and `nn.build_network`.

    It takes normalised float images (N, C, H, W) and returns logits (N, classes).
    Raises UserError on an unknown name or a value out of range.

    >>> create_model("mobilenet_v3_small", width=0.75, classes=3).spec.name
    'mobilenet_v3_small_075'
    """
    from .nn.network import build_network

    return build_network(
        create_spec(name, width=width, resolution=resolution, classes=classes, in_channels=in_channels, dropout=dropout)
    )


def cost(
    network: str | os.PathLike[str] | Spec,
    *,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
) -> Cost:
    """What a network costs, without building it: a name, a Spec, or the folder of a Run or a Bundle.

    `width` goes with a name alone. Raises UserError on an unknown name or a value out of range.

    >>> cost("mobilenet_v3_small", width=0.75).params
    2041872
    """
    if isinstance(network, str) and os.sep not in network and not os.path.exists(network):
        return cost_of(
            create_spec(network, width=width, resolution=resolution, classes=1000 if classes is None else classes)
        )
    if isinstance(network, Spec):
        spec = network
    else:
        from .deploy.load import load

        spec = load(network).spec
    if width is not None:
        named = spec.name if isinstance(network, Spec) else os.fspath(network)
        raise UserError(f"width {width:g} fits an architecture's name only; {named} has its width already")
    if resolution is not None:
        spec = adapt.with_resolution(spec, resolution)
    if classes is not None:
        spec = adapt.with_classes(spec, classes, background=spec.head.background)
    return cost_of(spec)


def train(
    data: str | os.PathLike[str],
    *,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "run",
    freeze: str | None = None,
    layer_decay: float | None = None,
    unfreeze: float | None = None,
    norm_stats: str | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    resolution: int | None = None,
    width: float | None = None,
    total_stride: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    flip: bool | None = None,
    randaugment: int | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    seed: int = 0,
    recipe: str = "auto",
    labels: str | None = None,
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Trains a network on labelled images and leaves a Run; resumes by itself. Returns what `train --json` prints.

    Without `weights` the network is `model`, mobilenet_v3_small where None, and begins from random weights. With
    `weights` (whatever the one loader takes: a Run, a Bundle, a published file, a catalogue name) it is theirs, with a
    new classifier where the classes differ; `freeze`, `layer_decay`, `unfreeze` and `norm_stats` say how they are
    treated, see `training.recipe.Tuning`.
    `minutes` ends the training when they are over, learning rate and all; with `epochs` too, the first of the two.
    Settings at None are chosen for the data and the recipe, and printed. Started again with the same arguments it goes
    on, or gives the finished result; other arguments raise UserError naming the difference, unless `restart`.
    Selection sees a part of the training data alone; the reported split is scored once, at the end.
    """
    from .training.begin import Arguments
    from .training.recipe import Changes
    from .training.trainer import check_arguments, run_training

    changes = Changes(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        flip=flip,
        randaugment=randaugment,
        mixup=mixup,
        cutmix=cutmix,
        freeze=freeze,
        layer_decay=layer_decay,
        unfreeze=unfreeze,
        norm_stats=norm_stats,
    )
    arguments = Arguments(
        data=str(data),
        model=MODEL if model is None and weights is None else model,
        labels=labels,
        minutes=minutes,
        resolution=resolution,
        width=width,
        total_stride=total_stride,
        seed=seed,
        recipe=recipe,
        changes=changes,
        device=device,
        precision=precision,
        weights=None if weights is None else os.fspath(weights),
    )
    start = None
    if arguments.weights is not None:
        check_arguments(arguments)  # before a large file is read
        start = _start(arguments.weights)
    return run_training(arguments, out, threads=threads, restart=restart, start=start)


def _start(weights: str) -> Start:
    """What the one loader finds under that name, as something to begin from."""
    from .deploy.load import load
    from .training.start import make_start

    loaded = load(weights)
    return make_start(loaded.reference, loaded.spec, loaded.network.state_dict(), loaded.labels)
