"""The optimiser of a recipe: which weights it moves, how fast, what decays, and the step itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from ..nn.network import Network
from .freeze import first_trained
from .recipe import Optimiser, Tuning
from .rmsprop import RMSpropTF


def make_optimiser(
    network: Network, settings: Optimiser, tuning: Tuning | None = None, beside: nn.Module | None = None
) -> Optimizer:
    """The optimiser, its parameters in groups of those that decay and those that do not, see `Optimiser.decay`.

    With `tuning` blocks that never train are left out, and each group has `scale`: what the learning rate is
    multiplied by there, `layer_decay` to the power of the block's distance from the head, `head_lr` in the head.
    `beside` trains with the network and comes last.
    """
    spared = _spared(network, settings)
    groups = []
    more = [] if beside is None else [(1.0, list(beside.parameters()))]
    for scale, parameters in (*_scaled(network, tuning), *more):
        decayed, free = [p for p in parameters if p not in spared], [p for p in parameters if p in spared]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "l2": settings.l2, "scale": scale})
        groups.append({"params": free, "weight_decay": 0.0, "l2": 0.0, "scale": scale})
    groups = [group for group in groups if group["params"]]
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, foreach=True)
    if settings.name == "rmsprop_tf":
        return RMSpropTF(groups, settings.lr, rho=settings.rho, momentum=settings.momentum, eps=settings.eps)
    nesterov = settings.momentum > 0
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov, foreach=True)


def set_rate_(optimiser: Optimizer, lr: float) -> None:
    """Gives every group its learning rate: `lr` times the group's scale."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["scale"]


@torch.no_grad()
def step_(optimiser: Optimizer, parameters: list[nn.Parameter], settings: Optimiser) -> None:
    """One step down the gradients that lie in `parameters`: clipped, L2 added, then the optimiser's own."""
    if settings.clip_value:
        nn.utils.clip_grad_value_(parameters, settings.clip_value, foreach=True)
    if settings.clip_norm:
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm, foreach=True)
    for group in optimiser.param_groups:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if group["l2"] and weights:
            torch._foreach_add_([weight.grad for weight in weights], weights, alpha=group["l2"])
    optimiser.step()


def _spared(network: Network, settings: Optimiser) -> set[nn.Parameter]:
    """The parameters that do not decay."""
    if settings.decay == "all":
        return set()
    spared = {parameter for parameter in network.parameters() if parameter.ndim <= 1}
    if settings.decay == "no_norm_no_depthwise":
        spared |= {layer.weight for layer in network.modules() if _depthwise(layer)}  # type: ignore[misc]
    return spared


def _depthwise(layer: nn.Module) -> bool:
    """Whether each filter of the layer sees one channel alone; a layer of one channel is as much a full one."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _scaled(network: Network, tuning: Tuning | None) -> list[tuple[float, list[nn.Parameter]]]:
    """The parameters that ever train, gathered by the factor of their learning rate."""
    if tuning is None:
        return [(1.0, list(network.parameters()))]
    by_scale: dict[float, list[nn.Parameter]] = {}
    blocks = len(network.blocks)
    for index in range(first_trained(network.spec, tuning.freeze), blocks):
        scale = tuning.layer_decay ** (blocks - index)
        by_scale.setdefault(scale, []).extend(network.blocks[index].parameters())
    by_scale.setdefault(tuning.head_lr, []).extend(network.head.parameters())
    return list(by_scale.items())
