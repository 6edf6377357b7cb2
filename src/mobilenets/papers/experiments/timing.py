"""How long a training would take here, from a few seconds of its own steps."""

from __future__ import annotations

import time

import torch

from ...data.dataset import open_dataset
from ...data.fingerprint import fingerprint
from ...data.loader import scoring_batches
from ...data.roles import roles
from ...nn.kernels.memory import kept_memory
from ...nn.network import build_network
from ...nn.placement import placed
from ...training.average import make_average
from ...training.begin import Arguments, choose_device, make_spec
from ...training.choose import Changes, with_settings
from ...training.loading import make_loader
from ...training.loop import Epoch, LabelLoss, Normaliser, compute_logits
from ...training.optimise import make_optimiser
from ...training.part import Part
from ...training.settle import check_arguments, settings_of

WARM_UP = 2  # steps that are not counted
LEAST = 3  # steps that are
SCORED = 192  # images whose scoring is timed


def time_training(
    data: str,
    *,
    model: str,
    width: float,
    resolution: int,
    total_stride: int,
    recipe: str,
    set: list[str],
    precision: str,
    seconds: float,
    threads: int = 1,
) -> dict[str, float]:
    """Seconds of an epoch of this training (`epoch`), of what comes but once (`once`), and of this call (`here`).

    Runs real steps on the training images for about `seconds`, and scores some selection images; leaves nothing.
    """
    began = time.perf_counter()
    torch.set_num_threads(threads)
    arguments = Arguments(
        data=data,
        model=model,
        labels=None,
        minutes=None,
        resolution=resolution,
        width=width,
        total_stride=total_stride,
        seed=0,
        recipe=recipe,
        changes=with_settings(Changes(), set),
        device="auto",
        precision=precision,
    )
    check_arguments(arguments)
    dataset = open_dataset(data)
    parts = roles(dataset, seed=0)
    mark = fingerprint(dataset)
    spec = make_spec(arguments, dataset)
    settings = settings_of(arguments, spec, len(parts.train))
    device = choose_device(arguments.device)
    loader = make_loader(spec, dataset, parts, settings, 0, mark)
    normalise = Normaliser(spec.preprocessing, device)
    network = placed(build_network(spec), device)
    moments: list[float] = []
    first = time.perf_counter()

    def on_step(*_: float) -> None:
        moments.append(time.perf_counter())

    def keep_going(*_: Part) -> bool:
        return len(moments) < WARM_UP + LEAST or moments[-1] < first + seconds

    with kept_memory():
        for epoch in range(WARM_UP + LEAST):  # a set may have fewer steps in an epoch
            if epoch and not keep_going():
                break
            Epoch(
                network=network,
                loader=loader,
                optimiser=make_optimiser(network, settings.optimiser, None, None),
                recipe=settings,
                classes=spec.head.outputs,
                normalise=normalise,
                loss_of=LabelLoss.of(settings.loss, loader.labels, spec.head.outputs, device),
                average=make_average(network, settings.averaging, loader.steps),
                bfloat16=precision == "bfloat16",
            ).run(epoch, Part(0, epoch), go_on=keep_going, progress=lambda step: 0.0, on_step=on_step)
        step = (moments[-1] - moments[WARM_UP - 1]) / (len(moments) - WARM_UP)
        some = parts.selection[:SCORED]
        started = time.perf_counter()
        compute_logits(network, scoring_batches(dataset, some, spec.preprocessing), normalise, device)
        score = (time.perf_counter() - started) / len(some)
    return {
        "epoch": step * loader.steps + score * len(parts.selection),
        "once": first - began + 2 * score * len(parts.report),
        "here": time.perf_counter() - began,
    }
