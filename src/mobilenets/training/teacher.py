"""The teacher of a distillation: a classifier made elsewhere, and the places inside it that may be watched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..nn.network import Network
from .distillation import EMBEDDING


@dataclass(frozen=True)
class Teacher:
    """What gives answers to learn from.

    `run` takes images (N, 3, R, R), normalised by `mean` and `std` (in 0...255; None: as the student's are), and gives
    logits (N, outputs). R is `resolution`; None: any. `labels` has one dictionary for each logit; None: the outputs
    stand in the order of the data's classes. `module` is the torch module behind `run`, if there is one. `sha256` tells
    whether it is the same teacher; None where nothing can.
    """

    name: str
    recognised: str
    sha256: str | None
    run: Callable[[Tensor], Tensor]
    labels: list[dict[str, Any]] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resolution: int | None = None
    sides: tuple[int, ...] | None = None  # those that it takes; None: any
    module: nn.Module | None = None


def teacher_of_network(
    name: str, recognised: str, sha256: str, network: Network, labels: list[dict[str, Any]]
) -> Teacher:
    """One of our networks as a teacher; it is put in evaluation mode."""
    spec = network.spec
    if spec.in_channels != 3:
        raise UserError(f"{name}: a network for {spec.in_channels} channels; a teacher looks at RGB, 3 channels")
    pre = spec.preprocessing
    network.eval()
    return Teacher(
        name=name,
        recognised=recognised,
        sha256=sha256,
        run=network,
        labels=labels if spec.head.classes else None,
        mean=tuple(pre.mean),
        std=tuple(pre.std),
        resolution=spec.resolution,
        module=network,
    )


def teacher_of_module(call: Callable[[Tensor], Tensor]) -> Teacher:
    """A torch module, or any callable, as a teacher: normalised images as the student gets them -> logits.

    Its outputs stand in the order of the data's classes. A module is put in evaluation mode and told apart from others
    by its weights; another callable by its name alone, so that it cannot be told when it changes. One of our networks
    has its own normalisation.
    """
    if isinstance(call, Network):
        name = f"a {call.spec.name}"
        teacher = teacher_of_network(name, "a network in memory", _state_hash(call), call, [])
        return Teacher(**{**vars(teacher), "labels": None, "resolution": None})
    if isinstance(call, nn.Module):
        call.eval()
        kind = type(call).__name__
        return Teacher(f"a {kind}", "a torch module in memory", _state_hash(call), call, module=call)
    if not callable(call):
        raise UserError(f"teacher {call!r} is neither a name, a torch module nor a callable")
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return Teacher(f"the function {name}", "a function in memory", None, call)


def _state_hash(module: nn.Module) -> str:
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def find_place(network: nn.Module, name: str, whose: str) -> nn.Module:
    """The part of a network whose output is the feature map of that tap, or the embedding.

    Of our networks a tap or `embedding`; of another the name of a submodule. Raises UserError naming what there is.
    """
    if isinstance(network, Network):
        if name == EMBEDDING:
            return network.head.hidden
        for block, module in zip(network.spec.blocks, network.blocks):
            if block.tap == name:
                return module
        allowed = ", ".join(tap.name for tap in network.taps)
        raise UserError(f"no feature map {name!r} in {whose}, a {network.spec.name}; allowed: {allowed}")
    found = dict(network.named_modules()).get(name)
    if found is None or not name:
        parts = ", ".join(child for child, _ in network.named_children())
        hint = "" if name != EMBEDDING else " (--teacher-taps embedding=NAME names another)"
        raise UserError(f"no part {name!r} in {whose}{hint}; it has {parts}")
    return found


@contextmanager
def watched(places: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What each of the places gave in the last forward pass, by name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen[name] = output

    handles = [module.register_forward_hook(partial(keep, name)) for name, module in places.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
