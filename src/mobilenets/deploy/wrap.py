"""The module that ships: raw pixels in, logits out, normalisation inside, BatchNorm and branches folded away."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..arch.spec import Spec
from ..errors import UserError
from ..nn.blocks import MobileMQA, UniversalInvertedBottleneck
from ..nn.fold import fixed, fold_batch_norm_
from ..nn.layers import ConvNormAct, LayerScale
from ..nn.network import Network
from ..nn.reparam import fold_branches_

INPUT, OUTPUT = "image", "logits"


class Shipped(nn.Module):
    """What every runtime's file is made from: `image` uint8 RGB (N, R, R, 3) -> `logits` float32 (N, outputs).

    The division by std is folded into the first convolution, which is exact because a convolution is linear. Folding
    the subtraction of the mean would not be: the network pads with zeros *after* normalisation, so pixels outside the
    picture count as the mean, while a folded bias would count them as black. It stays one subtraction. Measured in
    onnxruntime, V2 at 224 px, one thread: the subtraction takes 0.05 ms of 8 ms, the division would take 0.03 ms.
    """

    mean: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        spec = network.spec
        _check(spec)
        self.spec = spec
        self.network = fold_(copy.deepcopy(network).to("cpu", torch.float32).eval())
        self.register_buffer("mean", torch.tensor(spec.preprocessing.mean).view(-1, 1, 1))
        self.scale = _fold_scale_(self.network, torch.tensor(spec.preprocessing.std, dtype=torch.float64))

    def forward(self, image: Tensor) -> Tensor:
        return self.planar(image.permute(0, 3, 1, 2).float())  # (N, R, R, 3) -> (N, 3, R, R)

    def planar(self, image: Tensor) -> Tensor:
        """float32 RGB (N, 3, R, R), 0 to 255 -> logits: for runtimes that turn pictures into that themselves."""
        x = image - self.mean
        return self.network(x if self.scale is None else x * self.scale)


class Planar(nn.Module):
    """`Shipped.planar` as a module for tracing; every tensor contiguous, as converters want them."""

    def __init__(self, shipped: Shipped) -> None:
        super().__init__()
        self.shipped = copy.deepcopy(shipped).eval()
        for tensor in (*self.shipped.parameters(), *self.shipped.buffers()):
            tensor.data = tensor.data.contiguous()

    def forward(self, image: Tensor) -> Tensor:
        return self.shipped.planar(image)


def fold_(network: nn.Module) -> nn.Module:
    """`network` itself, branches, BatchNorms and layer scales after a convolution folded into it, none in place.

    The BatchNorm in front of V4's attention has no convolution to fold into and stays.
    """
    fold_batch_norm_(fold_branches_(network))
    for module in network.modules():
        if isinstance(module, UniversalInvertedBottleneck | MobileMQA) and isinstance(module.layer_scale, LayerScale):
            _fold_gamma_(_last_convolution(module), module.layer_scale.gamma)
            module.layer_scale = nn.Identity()
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # in-place operators slow the exporter down
    return network


def _last_convolution(block: UniversalInvertedBottleneck | MobileMQA) -> nn.Conv2d:
    if isinstance(block, MobileMQA):
        return block.output
    assert isinstance(block.project, ConvNormAct)
    return block.project.conv


def _fold_gamma_(conv: nn.Conv2d, gamma: Tensor) -> None:
    """w' = w * gamma and b' = b * gamma."""
    conv.weight = fixed(conv.weight.double() * gamma.double().view(-1, 1, 1, 1), conv.weight)
    if conv.bias is not None:
        conv.bias = fixed(conv.bias.double() * gamma.double(), conv.bias)


def _fold_scale_(network: nn.Module, std: Tensor) -> Tensor | None:
    """Divides the first convolution's weights by std per input channel; the factor itself where it cannot be folded."""
    assert isinstance(network, Network)
    if network.spec.blocks[0].kind != "conv" or network.spec.blocks[0].residual:
        return (1 / std).float().view(-1, 1, 1)
    first = next(m for m in network.blocks[0].modules() if isinstance(m, nn.Conv2d))
    first.weight = fixed(first.weight.double() / std.view(1, -1, 1, 1), first.weight)
    return None


def _check(spec: Spec) -> None:
    if spec.in_channels != 3:
        raise UserError(
            f"{spec.name} takes {spec.in_channels} input channels; a bundle's input is RGB, so only 3 can be exported"
        )
    if spec.head.classes == 0:
        raise UserError(f"{spec.name} has no classifier; a bundle's output are the logits of a classifier")
