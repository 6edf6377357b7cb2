"""Recipes of our own: what trains well on the sets and machines that most people have."""

from __future__ import annotations

from dataclasses import replace

from ...data.augment import Augmentation
from ..recipe import Averaging, Optimiser, Recipe, Schedule, Tuning

LOW_BLOCKS = "c3"  # the tap up to which `transfer` freezes; a network without it trains whole


def default() -> Recipe:
    """What trains well from scratch on small and middle-sized sets; `small_data` is another name of it.

    AdamW with a cosine, random resized crops, flips, a little rotation and colour, label smoothing and averaged
    weights. It trains at 7/8 of the resolution it is scored at: a random crop shows things larger than the centre crop
    does, and a step takes a quarter less.

    Source: our own; the resolution from Touvron et al. 2019, "Fixing the train-test resolution discrepancy".

    Command: `mobilenets train DATA --model mobilenet_v3_small --out RUN`

    Time: 60 passes over the images; `train` prints images a second and the time left.

    Expect: depends on the data; `benchmarks/from_scratch.py` measures it on two public sets, over three seeds.
    """
    return Recipe(
        name="default", train_resolution=0.875, augmentation=Augmentation(rotate=20.0, colour=0.4, hue=0.03, grey=0.1)
    )


def strong() -> Recipe:
    """For longer trainings and sets whose test images look different: RandAugment, erasing, cutmix and mixup.

    Source: our own, `default` with the augmentations of Cubuk et al. 2020, Zhong et al. 2020, Yun et al. 2019 and Zhang
    et al. 2018.

    Command: `mobilenets train DATA --model mobilenet_v3_large --recipe strong --out RUN`

    Time: 120 passes over the images.

    Expect: depends on the data; less than `default` where few passes are made or the test images look like the others.
    """
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
    """The classic: SGD with Nesterov momentum, cosine, crops and flips, as most published baselines train.

    Source: our own, after Goyal et al. 2017, "Accurate, large minibatch SGD", with a cosine.

    Command: `mobilenets train DATA --recipe sgd --out RUN`

    Time: 60 passes over the images.

    Expect: depends on the data.
    """
    return Recipe(
        name="sgd",
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=5e-4),
        augmentation=Augmentation(colour=0.2),
    )


def small_pictures() -> Recipe:
    """For pictures of up to 48 pixels, as CIFAR's: hardly smaller crops, no rotation, which would only blur them.

    Source: our own, `default` with less augmentation.

    Command: `mobilenets train cifar10 --out RUN`

    Time: 60 passes over the images.

    Expect: `benchmarks/from_scratch.py` measures it on cifar10.
    """
    return Recipe(name="small_pictures", augmentation=Augmentation(scale=(0.5, 1.0), colour=0.3))


def transfer() -> Recipe:
    """From weights that have learnt something else: what training with --weights does by itself.

    A fresh classifier is fitted to the features first, so that the first steps do not shake what the network knows;
    then everything above stride 8 trains at a low learning rate, warmed up, with averaged weights. The lowest blocks
    (of V2: 38 % of the multiply-adds, 1.6 % of the weights) stay as they are: in the same time twice as many passes go
    over the rest, which was better on each set measured.

    Source: our own; the fitted classifier from Kumar et al. 2022, "Fine-tuning can distort pretrained features".

    Command: `mobilenets train DATA --weights WEIGHTS --out RUN`

    Time: 20,000 images in all, 8 to 40 passes.

    Expect: `benchmarks/transfer.py` compares it with the other ways; docs/decisions.md has the table.
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


def quick() -> Recipe:
    """A first look: ten passes of one cycle at three quarters of the resolution, with hardly any augmentation.

    Source: our own, after Smith & Topin 2018, "Super-convergence".

    Command: `mobilenets train DATA --recipe quick --out RUN`

    Time: 10 passes over the images at 0.56 of a step's cost.

    Expect: below `default`; enough to see that data and labels are right.
    """
    return Recipe(
        name="quick",
        epochs=10,
        optimiser=Optimiser(lr=4e-3),
        schedule=Schedule(name="one_cycle", warmup=0.25),
        augmentation=Augmentation(scale=(0.5, 1.0), colour=0.2),
        averaging=Averaging(rule="none"),
        train_resolution=0.75,
    )


def transfer_epochs(images: int) -> int:
    """Passes over that many training images that fine-tuning takes: 20,000 images in all, 8 to 40 passes."""
    return min(max(round(20_000 / max(images, 1)), 8), 40)
