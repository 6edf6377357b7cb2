"""Run by torchrun: a few steps in two processes beside the same steps in one, all in float64, case by case.

`exact_steps.py DATA OUT` writes the greatest differences of losses and of weights to OUT as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from mobilenets.api import create_model
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.loader import Images, Loader
from mobilenets.nn.stochastic_depth import set_stochastic_depth_
from mobilenets.nn.sync_norm import synchronise_
from mobilenets.tasks.losses import Loss
from mobilenets.training import distill, distill_losses
from mobilenets.training.average import make_average
from mobilenets.training.distill import Distiller
from mobilenets.training.distillation import Distillation
from mobilenets.training.freeze import Freezing
from mobilenets.training.lesson import plan_lesson
from mobilenets.training.loop import Epoch, LabelLoss, Normaliser
from mobilenets.training.optimise import make_optimiser
from mobilenets.training.parallel import Ranks, joined
from mobilenets.training.part import Part
from mobilenets.training.recipe import Optimiser, Recipe, Tuning
from mobilenets.training.teacher import teacher_of_module

MIXED = Augmentation(mixup=0.4, cutmix=1.0, erase=0.5)
SLOW = Optimiser(lr=1e-3)  # a fast training is chaotic: rounding errors grow tenfold in every step
CASES = {
    "sync_bn": Recipe(name="a", batch_size=20, augmentation=MIXED, optimiser=SLOW, sync_bn=True),
    "odd batch, class weights": Recipe(
        name="b", batch_size=21, loss=Loss(class_weights="inverse"), optimiser=SLOW, sync_bn=True
    ),
    "accumulate, unfreeze": Recipe(
        name="c",
        batch_size=23,
        accumulate=3,
        augmentation=MIXED,
        optimiser=SLOW,
        tuning=Tuning(norm_stats="keep", unfreeze=0.5),
    ),
    "feature distillation": Recipe(
        name="d",
        batch_size=20,
        distillation=Distillation(feature=0.1, attention=1.0, soft=0.5),
        optimiser=SLOW,
        sync_bn=True,
    ),
}


def plain_distance(projected: Tensor, teacher: Tensor) -> Tensor:
    """A feature loss that is a mean over images: ours is divided by the size of all the teacher's maps."""
    return (projected - distill_losses._like(teacher, projected)).square().mean()


class Wide(Normaliser):
    """The images in float64."""

    def __call__(self, images: Tensor) -> Tensor:
        return super().__call__(images).double()


def train(data: Path, recipe: Recipe, ranks: Ranks) -> tuple[list[float], dict[str, Tensor]]:
    """The loss of each step of an epoch, and what the network and its average are after it."""
    dataset = open_dataset(data)
    samples = [sample for sample in dataset.samples if sample.split == "train"][7:]  # classes of unequal size
    loader = Loader(
        Images(dataset, samples, 40),
        batch_size=recipe.batch_size,
        resolution=32,
        augmentation=recipe.augmentation,
        seed=1,
        threads=1,
        places=ranks.places(recipe.batch_size),
    )
    torch.manual_seed(2)
    network = create_model("mobilenet_v2", width=0.25, resolution=32, classes=3, dropout=0.3).double()
    set_stochastic_depth_(network, 0.2)
    normalise = Wide(network.spec.preprocessing, torch.device("cpu"))
    labels = LabelLoss.of(recipe.loss, loader.labels, 3, torch.device("cpu"))
    loss_of: Any = labels
    beside = None
    if recipe.distillation is not None:
        module = create_model("mobilenet_v1_025", resolution=32, classes=3)
        lesson = plan_lesson(teacher_of_module(module), recipe, network.spec, dataset.classes, 32)
        module.double()
        loss_of = Distiller(lesson, network, normalise, None, labels)
        beside = loss_of.projections
    if recipe.sync_bn and ranks.world > 1:
        synchronise_(network)
    average = make_average(network, recipe.averaging, loader.steps)
    epoch = Epoch(
        network=network,
        loader=loader,
        optimiser=make_optimiser(network, recipe.optimiser, recipe.tuning, beside),
        recipe=recipe,
        classes=3,
        normalise=normalise,
        loss_of=loss_of,
        average=average,
        beside=beside,
        freezing=None if recipe.tuning is None else Freezing(network, recipe.tuning),
        ranks=ranks,
    )
    losses: list[float] = []
    epoch.run(
        0,
        Part(1, 0),
        go_on=lambda _: True,
        progress=lambda step: 0.2 + 0.8 * step / loader.steps,
        on_step=lambda _, loss, __: losses.append(loss),
    )
    assert average is not None
    found = network.state_dict() | {f"average of {name}": value for name, value in average.values.items()}
    return losses, found | ({} if beside is None else beside.state_dict())


def main(data: Path, out: Path) -> None:
    with joined() as ranks, mock.patch.object(distill, "feature_loss", plain_distance):
        assert ranks.world == 2
        found = {}
        for name, recipe in CASES.items():
            losses, state = train(data, recipe, ranks)
            expected, reference = train(data, replace(recipe, accumulate=1), Ranks())
            assert len(losses) == len(expected) >= 4
            found[name] = {
                "losses": max(abs(a - b) for a, b in zip(losses, expected)),
                "weights": max(float((state[key] - reference[key]).abs().max()) for key in reference),
                "moved": max(abs(a - losses[0]) for a in losses),
            }
        everywhere = ranks.gather(found)
        if ranks.is_writer:
            out.write_text(json.dumps(everywhere))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
