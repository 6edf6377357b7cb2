"""Which channels of a group matter least: the criteria of pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..errors import UserError
from ..nn.network import Network
from ..suggest import near
from .channels import Group

Loss = Callable[[Network], Tensor]  # of one batch, a scalar with a gradient
CRITERIA = ("l1", "l2", "batch_norm", "taylor")


def check_criterion(name: str) -> None:
    """Raises UserError on a criterion that is not known."""
    if name not in CRITERIA:
        raise UserError(f"unknown criterion {name!r}{near(name, CRITERIA) or '; allowed: ' + ', '.join(CRITERIA)}")


def importance(network: Network, group: Group, criterion: str = "l2") -> Tensor:
    """How much each of the group's channels matters, (channels,), 0 or more; comparable within the group.

    `l1` and `l2`: the norm of the weights that make the channel, each layer's divided by its mean over the channels (Li
    et al. 2017, "Pruning filters for efficient convnets"). `batch_norm`: the size of its normalisations' gamma (Liu et
    al. 2017, "Learning efficient convolutional networks through network slimming"). `taylor`: what the loss changes by
    without it, to first order, squared; it needs the gradients that `sum_gradients_` left (Molchanov et al. 2019,
    "Importance estimation for neural network pruning", equation 8), gathered at the normalisations, or at the weights
    where there are none. Raises UserError for `batch_norm` where BatchNorm is folded in.
    """
    check_criterion(criterion)
    state = dict(network.named_parameters())
    if criterion in ("l1", "l2"):
        power = 1 if criterion == "l1" else 2
        norms = [state[name].detach().flatten(1).norm(power, 1) for name in group.producers]
        return torch.stack([norm / norm.mean().clamp_min(1e-12) for norm in norms]).sum(0)
    gammas = [part.tensor for part in group.slices if part.tensor.endswith(".norm.weight")]
    if criterion == "batch_norm":
        if network.spec.norm.kind == "none":
            raise UserError(
                f"{network.spec.name}: criterion batch_norm needs one, and it is folded in; allowed: l1, l2, taylor"
            )
        if not gammas:  # V3's hidden layer
            return importance(network, group, "l2")
        sizes = [state[name].detach().abs() for name in gammas]
        return torch.stack([size / size.mean().clamp_min(1e-12) for size in sizes]).sum(0)
    names = [*gammas, *(name.removesuffix("weight") + "bias" for name in gammas)]
    if not gammas:
        biases = [name.removesuffix("weight") + "bias" for name in group.producers]
        names = [*group.producers, *(name for name in biases if name in state)]
    total = torch.zeros(group.channels)
    for name in names:
        parameter = state[name]
        if parameter.grad is None:
            raise ValueError("the criterion taylor needs gradients: call sum_gradients_ before")
        total += (
            (parameter.grad * parameter.detach()).flatten(1).sum(1)
            if parameter.ndim > 1
            else parameter.grad * parameter.detach()
        )
    return total.square()


def least(scores: Tensor, count: int) -> Tensor:
    """The places of all but the `count` least of `scores`, in order; of equals the first go."""
    gone = torch.argsort(scores, stable=True)[:count]
    kept = torch.ones(len(scores), dtype=torch.bool)
    kept[gone] = False
    return kept.nonzero().flatten()


def sum_gradients_(network: Network, losses: Iterable[Loss]) -> None:
    """Leaves the gradients of the sum of the losses in the network's parameters; BatchNorm keeps its statistics."""
    network.eval()
    network.zero_grad(set_to_none=True)
    for loss in losses:
        loss(network).backward()
