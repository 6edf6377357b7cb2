"""Hard-swish replaced by what int8 computes for nothing, and a short training that makes up for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..arch.adapt import with_activation_swapped
from ..arch.spec import Activation
from ..compress.finetune import Finetuner
from ..console import progress, say
from ..data.loader import Loader
from ..errors import UserError
from ..nn.network import build_network
from ..nn.placement import placed
from ..training.loop import Normaliser
from ..training.precision import choose_precision
from .load import Loaded

FROM: Activation = "hard_swish"
ALLOWED: tuple[Activation, ...] = ("relu6", "relu")
_RATE = 1e-3


def check_swap(loaded: Loaded, new: str) -> None:
    """Raises UserError for an activation that is no gain, and for a network that has nothing to replace."""
    if new not in ALLOWED:
        raise UserError(f"unknown swap {new!r}; allowed: {', '.join(ALLOWED)}")
    spec = loaded.spec
    if FROM not in {*(block.act for block in spec.blocks), spec.head.act}:
        raise UserError(f"swap {new}: {spec.name} has no {FROM} to replace")
    if spec.norm.kind == "none":
        raise UserError(
            f"swap {new}: BatchNorm is folded into {loaded.reference}; train it on the data first (--weights)"
        )


def swapped(loaded: Loaded, new: Activation, loader: Loader, passes: int) -> Loaded:
    """The network with `new` in place of hard-swish, trained over the images `passes` times, taught by what it was."""
    device = torch.device("cpu")
    spec = with_activation_swapped(loaded.spec, FROM, new)
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec)
    network.load_state_dict(loaded.network.state_dict())
    bfloat16 = choose_precision("auto", device).bfloat16
    normalise = Normaliser(loaded.preprocessing, device)
    finetuner = Finetuner(loader, normalise, placed(loaded.network, device).eval(), lr=_RATE, bfloat16=bfloat16)
    total = passes * loader.steps
    say(f"{FROM} becomes {new}: {passes} passes over the training images, taught by the network as it was")
    try:
        with progress() as bar:
            task = bar.add_task("swap", total=total, note="")
            finetuner.train_(placed(network, device), total, lambda done: bar.update(task, completed=done))
    finally:
        finetuner.close()
    made = network.eval()
    return replace(loaded, spec=spec, make_network=lambda: made)
