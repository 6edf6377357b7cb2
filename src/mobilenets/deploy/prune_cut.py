"""The search of `prune`: from the network that there is to one within the limit, every step kept on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..compress.channels import groups
from ..compress.criteria import sum_gradients_
from ..compress.finetune import Finetuner, judge
from ..compress.netadapt import Budget, Settings, Step, netadapt
from ..compress.oneshot import prune_at_once, prune_uniformly
from ..console import say
from ..data.augment import Augmentation
from ..data.dataset import Dataset
from ..data.fingerprint import fingerprint
from ..data.roles import roles
from ..nn.network import Network
from ..nn.placement import placed
from ..nn.refold import with_batch_norm
from ..training.loading import make_loader
from ..training.loop import Normaliser
from ..training.precision import choose_precision
from ..training.recipe import Recipe
from .calibrate import read_images
from .load import Loaded
from .prune_pace import Pace
from .prune_search import Search
from .quantise_data import Keep, shuffled
from .score import known_columns, score, spread

SUFFIX = "_pruned"  # of the network's name
SELECTION_IMAGES = 256  # by which proposals are judged
SEARCH_SHARE = 0.4  # of the minutes
FIRST_LOOK = 0.15  # of that: scoring all proposals once
_BATCH, _RATE = 32, 2e-4  # of the short trainings: Adam's first steps are as large as its rate for every weight
_TAYLOR_BATCHES = 8


def cut_(
    search: Search,
    loaded: Loaded,
    dataset: Dataset,
    budget: Budget,
    limit: float,
    arguments: dict[str, Any],
    begun: float,
) -> None:
    """Finds the network within `limit`, which `search` holds afterwards.

    `begun`: when the command did, by `time.perf_counter`.
    """
    before = search.seconds
    parts = roles(dataset)
    columns = known_columns(dataset, loaded)
    assert columns is not None
    picked = shuffled(spread(parts.selection or parts.train, SELECTION_IMAGES))
    judged = score(dataset, picked, [Keep()], loaded.preprocessing, columns, "read")
    device = torch.device("cpu")
    normalise = Normaliser(loaded.preprocessing, device)
    recipe = Recipe(name="prune", batch_size=_BATCH, augmentation=Augmentation(rotate=10.0, colour=0.3))
    loader = make_loader(loaded.spec, dataset, parts, recipe, arguments["seed"], fingerprint(dataset))
    precision = choose_precision("auto", device)
    teacher = placed(loaded.network, device).eval()
    finetuner = Finetuner(loader, normalise, teacher, lr=_RATE, bfloat16=precision.bfloat16)
    settings = Settings(criterion=arguments["criterion"], multiple=arguments["multiple"])

    def judge_(network: Network) -> tuple[float, float]:
        return judge(network, judged.logits[0], judged.labels, normalise, bfloat16=precision.bfloat16)

    def prepare(network: Network) -> None:
        if settings.criterion == "taylor":
            losses = (lambda network: finetuner.loss(network, finetuner.next_batch()) for _ in range(_TAYLOR_BATCHES))
            sum_gradients_(network, losses)

    try:
        network = _beginning(search, loaded, dataset, normalise)
        if arguments["method"] != "netadapt":
            cut = prune_at_once if arguments["method"] == "one-shot" else prune_uniformly
            network = cut(network, budget, limit, settings, prepare=prepare)
        else:
            share = None if arguments["minutes"] is None else SEARCH_SHARE * 60 * arguments["minutes"]
            if share is not None:
                few = _few_enough(judge_, network, len(judged.labels), FIRST_LOOK * share)
                judged = replace(judged, logits=(judged.logits[0][:few],), labels=judged.labels[:few])
            pace = Pace(finetuner, limit, None if share is None else begun + share - before)
            whole = budget.measure(loaded.spec)

            def on_step(network: Network, step: Step) -> None:
                search.add(step)
                search.seconds = before + time.perf_counter() - begun
                search.save(network, loaded)
                words = ", ".join(f"{name} {channels or 'gone'}" for name, channels in step.cuts)
                say(
                    f"step {len(search.steps)}: {words}: {step.measured / whole:.0%} of the original, "
                    f"selection top-1 {step.top1:.1%}"
                )

            network = netadapt(
                network,
                budget,
                limit,
                lambda each: pace.train_(placed(each, device)),
                judge_,
                settings,
                prepare=prepare,
                on_step=on_step,
                first=loaded.spec,
                done=len(search.steps),
                prices={row[0]: row[2] for step in search.steps for row in step["proposals"]},
                pace=pace,
            )
    finally:
        finetuner.close()
    search.seconds, search.finished = before + time.perf_counter() - begun, True
    network.spec = replace(network.spec, name=f"{loaded.spec.name.removesuffix(SUFFIX)}{SUFFIX}")
    search.save(network, loaded)


def _few_enough(judge_: Callable[[Network], object], network: Network, images: int, seconds: float) -> int:
    """Of so many selection images, how many one look at each proposal may take within that time; at least 64."""
    began = time.perf_counter()
    judge_(network)
    look = (time.perf_counter() - began) * len(groups(network.spec))
    return min(images, max(64, int(images * seconds / look)))


def _beginning(search: Search, loaded: Loaded, dataset: Dataset, normalise: Normaliser) -> Network:
    """The network that the search goes on from, with BatchNorm where it was folded in."""
    if search.steps:
        say(f"going on after step {len(search.steps)} of the search")
        return placed(search.network(), torch.device("cpu"))
    network = loaded.network
    if network.spec.norm.kind == "none":
        images = read_images(dataset, shuffled(spread(roles(dataset).train, 128)), loaded)
        batches = (normalise(torch.from_numpy(images[start : start + 32])) for start in range(0, len(images), 32))
        network = with_batch_norm(network, batches)
    return placed(network, torch.device("cpu"))
