"""A network that begins from weights: the Spec it gets, and the weights that go into it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..arch import adapt
from ..arch.cost import cost
from ..arch.spec import Spec
from ..console import say
from ..data.dataset import Dataset
from ..data.decode import ImageError, decode_image
from ..data.loader import scoring_batches
from ..data.records import Sample
from ..data.roles import Roles
from ..errors import UserError
from ..nn.network import Network, build_network
from ..nn.placement import placed
from ..nn.refold import refresh_, with_batch_norm
from .features import embed, gather
from .head import fit_head
from .loop import Normaliser
from .recipe import Recipe
from .start import Start, classifier_note, kept_rows, without_folding

LOOKED_AT = 64  # images whose sides are read, to choose a resolution
SMALLEST = 96
MEASURED = 512  # images that BatchNorm's statistics are taken from
PROBED = 20_000  # images that the first classifier is fitted to, at most


def adopted_spec(
    start: Start, dataset: Dataset, samples: Sequence[Sample], resolution: int | None, total_stride: int | None
) -> Spec:
    """The weights' Spec for the data's classes; the resolution is theirs, or less where the images are small.

    Mean, standard deviation, padding and constants stay theirs, and the strides too unless `total_stride` is given:
    weights know things at the size that their strides made them see. What is chosen is printed.
    """
    own = start.spec.resolution
    if resolution is None:
        side = median_side(dataset, samples)
        resolution = fitting_resolution(own, side)
        if not _fits(start.spec, resolution):
            resolution = own
        if resolution != own:
            say(f"images of {side} pixels: {resolution} px in place of the weights' {own} (--resolution sets it)")
    spec = adapt.with_classes(adapt.with_resolution(start.spec, resolution), len(dataset.classes))
    if total_stride is not None:
        spec = _with_total_stride(spec, total_stride)
    return replace(spec, head=replace(spec.head, bias=True))


def _with_total_stride(spec: Spec, total_stride: int) -> Spec:
    """`spec` with other strides; UserError where its branches hold weights for its own, see `nn.reparam`."""
    strided = adapt.with_total_stride(spec, total_stride)
    if spec.reparam and strided.blocks != spec.blocks:
        raise UserError(
            f"total stride {total_stride} changes which branches the weights' convolutions have (reparam "
            f"{spec.reparam}): leave it out, or begin from the folded network, which a bundle of them holds"
        )
    return strided


def _fits(spec: Spec, resolution: int) -> bool:
    """Whether every convolution of the network has room: one over the whole map fits one size alone."""
    try:
        cost(adapt.with_resolution(spec, resolution))
    except UserError:
        return False
    return True


def fitting_resolution(own: int, side: int) -> int:
    """The resolution for images of that short side: no more than they show, to a multiple of 32, at most `own`.

    >>> fitting_resolution(224, 160), fitting_resolution(224, 1000), fitting_resolution(224, 64)
    (160, 224, 96)
    """
    return min(own, max(32 * math.ceil(side / 32), SMALLEST))


def median_side(dataset: Dataset, samples: Sequence[Sample]) -> int:
    """Median short side in pixels of up to 64 of the images; unreadable ones are left for training to name."""
    sides = []
    for sample in evenly(samples, LOOKED_AT):
        try:
            sides.append(min(decode_image(dataset.read(sample)).shape[:2]))
        except ImageError:
            continue
    return int(np.median(sides)) if sides else 10**6


def evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` of the samples, evenly spread over them."""
    if len(samples) <= count:
        return list(samples)
    return [samples[i * len(samples) // count] for i in range(count)]


def adopt(start: Start, spec: Spec, recipe: Recipe, dataset: Dataset, parts: Roles, normalise: Normaliser) -> Network:
    """The network of `spec` with the weights in it, ready to train.

    A fresh classifier is zero, or fitted to the features where the recipe says `probe`. BatchNorm is put back where
    `spec` has it and the weights have it folded in, and re-estimated where the recipe says `refresh`.
    """
    tuning = recipe.tuning
    assert tuning is not None
    rows = kept_rows(start, [c.name for c in dataset.classes])
    say(f"classifier: {classifier_note(start, len(dataset.classes), rows)}")
    network = build_network(replace(spec, norm=start.spec.norm))
    network.load_state_dict(_fitting_state(start, network, rows))
    device = normalise.mean.device
    network = placed(network, device).eval()
    images = evenly(parts.train, MEASURED)
    if start.folded and spec.norm.kind == "batch":
        say(f"BatchNorm was folded in: put back, with the statistics of {len(images)} training images")
        network = placed(with_batch_norm(network, _tensors(dataset, images, spec, normalise)), device)
    if tuning.norm_stats == "refresh" and not start.folded:
        say(f"BatchNorm's statistics: estimated anew on {len(images)} training images, and kept")
        refresh_(network, _tensors(dataset, images, spec, normalise))
    if rows is None and tuning.probe and tuning.freeze != "all":
        fit_classifier_(network, dataset, parts, normalise)
    return network


def spec_to_train(start: Start, spec: Spec, recipe: Recipe) -> Spec:
    """`spec` with BatchNorm put back where it is folded in and shall train: not for `keep`, which leaves it folded."""
    assert recipe.tuning is not None
    return without_folding(spec) if start.folded and recipe.tuning.norm_stats != "keep" else spec


def fit_classifier_(network: Network, dataset: Dataset, parts: Roles, normalise: Normaliser) -> None:
    """Gives the network the best linear classifier on what it sees now, in place."""
    assert network.head.classifier is not None
    device, pre = normalise.mean.device, network.spec.preprocessing
    batches = scoring_batches(dataset, evenly(parts.train, PROBED), pre)
    chosen = scoring_batches(dataset, parts.selection, pre)
    train, selection = (gather(embed(network, b, normalise, device)) for b in (batches, chosen))
    fit = fit_head([train], selection, network.spec.head.outputs)
    say(f"classifier fitted to the features of {len(train[1])} images: selection loss {fit.selection_loss:.3f}")
    put_classifier_(network, fit.weight, fit.bias)


@torch.no_grad()
def put_classifier_(network: Network, weight: Tensor, bias: Tensor) -> None:
    """Sets the classifier's weight (C, D) and bias (C,) in place."""
    layer = network.head.classifier
    assert layer is not None
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _fitting_state(start: Start, network: Network, rows: list[int] | None) -> dict[str, Tensor]:
    """The weights' state with the classifier that is kept, its rows in the data's order, or a zero one."""
    state = dict(start.state)
    for name, own in network.state_dict().items():
        if name.startswith("head.classifier."):
            state[name] = torch.zeros_like(own) if rows is None or name not in state else state[name][rows]
    return state


def _tensors(dataset: Dataset, samples: Sequence[Sample], spec: Spec, normalise: Normaliser) -> Iterator[Tensor]:
    device = normalise.mean.device
    for images, _ in scoring_batches(dataset, samples, spec.preprocessing):
        yield normalise(torch.from_numpy(images).to(device))
