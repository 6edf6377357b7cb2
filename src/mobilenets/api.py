"""The Python side of the verbs that stand on several layers: `create_model`, `cost`, `plot` and `train`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arch import adapt
from .arch.cost import Cost
from .arch.cost import cost as cost_of
from .arch.registry import create_spec
from .arch.spec import Profile, Spec
from .errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from .nn.network import Network
    from .training.start import Start
    from .training.teacher import Teacher
    from .training.tracking import Tracker

MODEL = "mobilenet_v3_small"  # where neither a model nor weights are named


def create_model(
    name: str,
    *,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    dropout: float | None = None,
    profile: Profile | None = None,
    reparam: int | bool | None = None,
) -> Network:
    """A network, new or with its weights; for rarer settings see `arch.registry.create_spec` and `nn.build_network`.

    An architecture's name gives random weights, in training mode. Whatever else names a network (a Run, a Bundle, a
    published file, a catalogue name) gives its weights, in evaluation mode; `classes` then puts a fresh classifier in
    place of its own, and width, resolution, input channels, dropout, profile and reparam are the network's. The profile
    `authors` has the paper's authors' padding, BatchNorm, initialisation, preprocessing and dropout, see
    `arch.profiles`; `default` what trains and exports best here. With `reparam` each convolution trains as that many
    parallel ones, see `nn.reparam`; `nn.deployed` folds them.
    It takes normalised float images (N, C, H, W) and returns logits (N, classes), 1000 where nothing is said.
    Raises UserError on an unknown name or a value out of range.

    >>> create_model("mobilenet_v3_small", width=0.75, classes=3).spec.name
    'mobilenet_v3_small_075'
    """
    settings: dict[str, Any] = {
        "width": width,
        "resolution": resolution,
        "in_channels": in_channels,
        "dropout": dropout,
        "profile": profile,
        "reparam": reparam,
    }
    given = {setting: value for setting, value in settings.items() if value is not None}
    if _is_architecture(name):
        from .nn.network import build_network

        return build_network(create_spec(name, classes=1000 if classes is None else classes, **given))
    for setting, value in given.items():
        raise UserError(f"{setting} {value} fits an architecture's name only; {name} has its own")
    from .deploy.load import load

    network = load(name).network
    if classes is not None:
        network.reset_head(classes)
    return network


def _is_architecture(name: str) -> bool:
    """Whether it can only be an architecture's name, known or not: no path, and no name of the catalogue."""
    return os.sep not in name and "." not in name and not os.path.exists(name)


def cost(
    network: str | os.PathLike[str] | Spec,
    *,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
) -> Cost:
    """What a network costs, without building it: whatever names one, or a Spec.

    Published weights named by the catalogue are not downloaded for it.

    `width` goes with a name alone. Raises UserError on an unknown name or a value out of range.

    >>> cost("mobilenet_v3_small", width=0.75).params
    2041872
    """
    return cost_of(_spec(network, width, resolution, classes))


def plot(
    network: str | os.PathLike[str] | Spec | Network | Sequence[str | os.PathLike[str] | Spec | Network],
    path: str | os.PathLike[str] | None = None,
    *,
    detail: str | None = None,
    width: float | None = None,
    resolution: int | None = None,
    classes: int | None = None,
) -> Path:
    """Draws a network as an .svg or a .png, NAME.svg where no path is given; returns the path.

    `network` is whatever names one, a Spec, or a network that `create_model` made. `detail` is what has a row of its
    own: "stages", "blocks" (where nothing is said) or "layers". Beside each stand its multiply-adds, parameters and
    live memory. A list of several networks is drawn side by side, comparison.svg where no path is given.
    A .png needs matplotlib (the extra `plot`); an .svg needs nothing.
    Raises UserError on an unknown name, a value out of range, or another ending of the path.
    """
    from .drawing.comparison import draw_comparison
    from .drawing.plot import COMPARISON, check_path, default_path, draw, write

    if path is not None:
        check_path(path)  # before a large file is read
    given: list[Any] = list(network) if isinstance(network, list | tuple) else [network]
    if not given:
        raise UserError("no network named; one is drawn block by block, several side by side")
    if len(given) > 1 and detail is not None:
        raise UserError(f"detail {detail} is of one network's drawing; {len(given)} are drawn side by side")
    specs = [_spec(getattr(each, "spec", each), width, resolution, classes) for each in given]
    if len(specs) > 1:
        return write(draw_comparison([cost_of(spec) for spec in specs]), COMPARISON if path is None else path)
    return write(draw(specs[0], detail or "blocks"), default_path(specs[0]) if path is None else path)


def _spec(
    network: str | os.PathLike[str] | Spec, width: float | None, resolution: int | None, classes: int | None
) -> Spec:
    """The Spec of whatever names a network, changed as asked."""
    if isinstance(network, str) and _is_architecture(network):
        return create_spec(network, width=width, resolution=resolution, classes=1000 if classes is None else classes)
    spec = network if isinstance(network, Spec) else _spec_of(network)
    if width is not None:
        named = spec.name if isinstance(network, Spec) else os.fspath(network)
        raise UserError(f"width {width:g} fits an architecture's name only; {named} has its width already")
    if resolution is not None:
        spec = adapt.with_resolution(spec, resolution)
    if classes is not None:
        spec = adapt.with_classes(spec, classes, background=spec.head.background)
    return spec


def _spec_of(network: str | os.PathLike[str]) -> Spec:
    from .weights.catalog import find_where_no_file_is, spec_of

    name = os.fspath(network)
    if os.sep not in name and not os.path.exists(name):
        return spec_of(find_where_no_file_is(name))
    from .deploy.load import load

    return load(network).spec


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
    profile: Profile | None = None,
    reparam: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    sync_bn: bool | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    flip: bool | None = None,
    randaugment: int | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    progressive: float | None = None,
    seed: int = 0,
    recipe: str = "auto",
    set: Sequence[str] = (),
    labels: str | None = None,
    teacher: str | os.PathLike[str] | Callable[[Tensor], Tensor] | None = None,
    distill: str | None = None,
    temperature: float | None = None,
    teacher_taps: str | None = None,
    teacher_resolution: int | None = None,
    teacher_input: str | None = None,
    teacher_cache: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    checkpoint_minutes: float | None = None,
    restart: bool = False,
    find_lr: bool = False,
    track: str | Tracker | None = None,
) -> dict[str, Any]:
    """Trains a network on labelled images and leaves a Run; resumes by itself. Returns what `train --json` prints.

    Without `weights` the network is `model`, mobilenet_v3_small where None, and begins from random weights. With
    `weights` (whatever the one loader takes: a Run, a Bundle, a published file, a catalogue name) it is theirs, with a
    new classifier where the classes differ; `freeze`, `layer_decay`, `unfreeze` and `norm_stats` say how they are
    treated, see `training.recipe.Tuning`. A `teacher` is whatever the one loader takes, any ONNX classifier, a torch
    module or a callable (images normalised as the network's own are -> logits in the order of the data's classes);
    `distill` and what follows say how it is learnt from, see docs/distillation.md.
    `profile` and `reparam` are those of a network that is built anew, see `create_model`.
    `minutes` ends the training when they are over, learning rate and all; with `epochs` too, the first of the two.
    `recipe` is a name of `training.recipes.RECIPES` or a JSON file; `set` holds `NAME=VALUE` for any setting of it.
    Settings at None are chosen for the data and the recipe, and printed. A checkpoint follows every epoch; amid one it
    comes each `checkpoint_minutes` (10 where None), at SIGTERM and at Ctrl-C. Started again with the same arguments it
    goes on, or gives the finished result; other arguments raise UserError naming the difference, unless `restart`.
    With `find_lr` nothing is trained to keep: the learning rate is swept, and find_lr.json and find_lr.png tell where
    the loss falls and where it breaks.
    `track` is "mlflow", or an object that follows the training, see `training.tracking.Tracker`.
    Selection sees a part of the training data alone; the reported split is scored once, at the end.
    In a script that torchrun starts, all processes call it alike, and all get the result; see docs/scale.md.
    """
    from .training.begin import Arguments
    from .training.choose import Changes, with_settings
    from .training.distillation import Teaching
    from .training.parallel import joined
    from .training.settle import check_arguments
    from .training.steps import CHECKPOINT_MINUTES
    from .training.trainer import run_training

    changes = Changes(
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        sync_bn=sync_bn,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        flip=flip,
        randaugment=randaugment,
        mixup=mixup,
        cutmix=cutmix,
        progressive=progressive,
        freeze=freeze,
        layer_decay=layer_decay,
        unfreeze=unfreeze,
        norm_stats=norm_stats,
    )
    changes = with_settings(changes, set)
    arguments = Arguments(
        data=str(data),
        model=MODEL if model is None and weights is None else model,
        labels=labels,
        minutes=minutes,
        resolution=resolution,
        width=width,
        total_stride=total_stride,
        profile=profile,
        reparam=(int(reparam) if isinstance(reparam, bool) else reparam) or None,  # 0 is none
        seed=seed,
        recipe=recipe,
        changes=changes,
        device=device,
        precision=precision,
        weights=None if weights is None else os.fspath(weights),
        teaching=Teaching(
            teacher=None if teacher is None else _name(teacher),
            distill=distill,
            temperature=temperature,
            teacher_taps=teacher_taps,
            teacher_resolution=teacher_resolution,
            teacher_input=teacher_input,
            teacher_cache=teacher_cache,
        ),
    )
    check_arguments(arguments)  # before a large file is read
    with joined() as ranks:
        start = None if weights is None else ranks.together(lambda: _start(os.fspath(weights)))
        found = None if teacher is None else ranks.together(lambda: _teacher(teacher, teacher_input, threads))
        return run_training(
            arguments,
            out,
            threads=threads,
            restart=restart,
            start=start,
            teacher=found,
            range_test=find_lr,
            checkpoint_minutes=CHECKPOINT_MINUTES if checkpoint_minutes is None else checkpoint_minutes,
            ranks=ranks,
            track=track,
        )


def _name(teacher: str | os.PathLike[str] | Callable[[Tensor], Tensor]) -> str:
    """What a Run calls the teacher."""
    if isinstance(teacher, str | os.PathLike):
        return os.fspath(teacher)
    from .training.teacher import teacher_of_module

    return teacher_of_module(teacher).name


def _teacher(
    teacher: str | os.PathLike[str] | Callable[[Tensor], Tensor], given: str | None, threads: int | None
) -> Teacher:
    """The teacher that is named, or that a module or a callable is."""
    from .deploy.teacher import find_teacher
    from .training.teacher import teacher_of_module

    if isinstance(teacher, str | os.PathLike):
        return find_teacher(os.fspath(teacher), given, threads)
    if given is not None:
        raise UserError(f"teacher input {given} goes with an ONNX file; a callable gets what the network itself gets")
    return teacher_of_module(teacher)


def _start(weights: str) -> Start:
    """What the one loader finds under that name, as something to begin from."""
    from .deploy.load import load
    from .training.start import make_start

    loaded = load(weights)
    return make_start(loaded.reference, loaded.spec, loaded.network.state_dict(), loaded.labels)
