"""The optimiser of a recipe: which weights it moves, how fast, what decays, and the step itself."""

from __future__ import annotations

from typing import Any

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
    """The optimiser, its parameters in groups of those that decay and those that do not, see `Optimiser`.

    With `tuning` blocks that never train are left out, and each group has `scale`: what the learning rate is
    multiplied by there, `layer_decay` to the power of the block's distance from the head, `head_lr` in the head.
    `beside` trains with the network and comes last.
    """
    spared = _spared(network, settings.decay)
    kept = spared | _depthwise_kernels(network) if settings.l2 else spared  # from L2
    groups = []
    more = [] if beside is None else [(1.0, list(beside.parameters()))]
    for scale, parameters in (*_scaled(network, tuning), *more):
        decay, l2 = settings.weight_decay, settings.l2
        groups.append(_group([p for p in parameters if p not in kept], decay, l2, scale))
        groups.append(_group([p for p in parameters if p in kept - spared], decay, 0.0, scale))
        groups.append(_group([p for p in parameters if p in spared], 0.0, 0.0, scale))
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


def _group(parameters: list[nn.Parameter], decay: float, l2: float, scale: float) -> dict[str, Any]:
    return {"params": parameters, "weight_decay": decay, "l2": l2, "scale": scale}


def _spared(network: Network, decay: str) -> set[nn.Parameter]:
    """The parameters that do not decay."""
    if decay == "all":
        return set()
    spared = {parameter for parameter in network.parameters() if parameter.ndim <= 1}
    return spared | _depthwise_kernels(network) if decay == "no_norm_no_depthwise" else spared


def _depthwise_kernels(network: Network) -> set[nn.Parameter]:
    return {layer.weight for layer in network.modules() if _depthwise(layer)}  # type: ignore[misc]


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
