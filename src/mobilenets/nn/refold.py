"""BatchNorm put back into a network whose weights have it folded in, and statistics estimated anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UserError
from .layers import ConvNormAct
from .network import Network, build_network


@torch.no_grad()
def with_batch_norm(network: Network, images: Iterable[Tensor]) -> Network:
    """The same function with BatchNorm after each convolution that a Spec normalises, in evaluation mode.

    `images` are batches (N, C, H, W), normalised: the mean and variance of every convolution's output are measured on
    them and become the running statistics; gamma = sqrt(variance + eps) and beta = bias + mean undo them, so in
    evaluation mode the logits stay what they were. In training mode the network is normalised again, which is what
    fine-tuning a folded file lacks. Returns a new network whose Spec has `norm` "batch"; raises UserError where
    BatchNorm is not folded.
    """
    spec = network.spec
    if spec.norm.kind != "none":
        raise UserError(f"{spec.name}: BatchNorm is not folded into its convolutions, there is none to put back")
    made = build_network(replace(spec, norm=replace(spec.norm, kind="batch")))
    made.to(next(network.parameters()).device)
    normalised = {
        name: layer for name, layer in made.named_modules() if isinstance(layer, ConvNormAct) and _is_normalised(layer)
    }
    moments = _measure(network, normalised, images)
    state = dict(network.state_dict())
    for name in normalised:
        bias = state.pop(f"{name}.conv.bias")
        mean, variance = moments[name]
        state |= {
            f"{name}.norm.weight": torch.sqrt(variance + spec.norm.eps),
            f"{name}.norm.bias": mean,
            f"{name}.norm.running_mean": mean - bias,  # of the convolution without its bias
            f"{name}.norm.running_var": variance,
            f"{name}.norm.num_batches_tracked": torch.tensor(0),
        }
    made.load_state_dict(state)
    return made.eval()


@torch.no_grad()
def refresh_(network: Network, images: Iterable[Tensor]) -> None:
    """Estimates the running statistics of every BatchNorm anew, in place, as their mean over the batches of images.

    Each layer normalises with its batch's own statistics meanwhile, as in training. `images` (N, C, H, W), normalised.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's cumulative mean
        layer.train()
    for batch in images:
        network(batch)
    for layer, momentum in zip(layers, before):
        layer.momentum = momentum
    network.eval()


def set_momentum_(network: nn.Module, momentum: float) -> None:
    """Sets how fast BatchNorm's statistics follow, torch's meaning, in place; the Spec keeps its own.

    Published weights carry 0.001 to 0.01, made for a million steps; a fine-tuning has a few hundred.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = momentum


def _is_normalised(layer: ConvNormAct) -> bool:
    return isinstance(layer.norm, nn.BatchNorm2d)


def _measure(network: Network, names: Iterable[str], images: Iterable[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each named convolution's output per channel, bias included, float32."""
    moments: dict[str, tuple[int, Tensor, Tensor]] = {}  # count, mean, sum of squared distances from it

    def listen(name: str) -> None:
        def add(_: nn.Module, __: object, output: Tensor) -> None:
            variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
            count = output.numel() // output.shape[1]
            part = (count, mean.double(), count * variance.double())
            moments[name] = _joined(moments[name], part) if name in moments else part

        handles.append(network.get_submodule(f"{name}.conv").register_forward_hook(add))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    network.eval()
    try:
        for name in names:
            listen(name)
        for batch in images:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not moments:
        raise UserError(f"{network.spec.name}: no images to measure its convolutions on")
    return {name: (mean.float(), (squares / count).float()) for name, (count, mean, squares) in moments.items()}


def _joined(a: tuple[int, Tensor, Tensor], b: tuple[int, Tensor, Tensor]) -> tuple[int, Tensor, Tensor]:
    """Count, mean and squared distances of two sets together (Chan, Golub & LeVeque 1979)."""
    count = a[0] + b[0]
    apart = b[1] - a[1]
    return count, a[1] + apart * (b[0] / count), a[2] + b[2] + apart * apart * (a[0] * b[0] / count)
