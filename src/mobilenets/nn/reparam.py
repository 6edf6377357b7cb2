"""Structural re-parameterisation: a convolution that trains as several parallel branches and ships as one.

In training each branch has its own BatchNorm, and their sum goes through the activation: some copies of the
convolution, a 1x1 convolution where the kernel is larger, and the bare input where channels and resolution stay
("MobileOne", Vasu et al. 2023, arXiv:2206.04040, section 3, figure 3; "RepVGG", Ding et al. 2021, arXiv:2101.03697).
In evaluation mode every branch is linear, so that their sum is one convolution with a bias.
"""

from __future__ import annotations

import copy
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..arch.check import check_count
from ..arch.spec import Activation, Norm
from ..errors import UserError
from .fold import fixed, folded_norm
from .kernels.conditions import wanted
from .kernels.layer import normalise
from .layers import ConvNormAct, ConvSettings, activation, batch_norm


class BranchedConvNormAct(nn.Module):
    """`ConvNormAct` in its training form. (N, C_in, H, W) -> (N, C_out, H', W').

    `branches` convolutions with BatchNorm; where the kernel is above 1, a 1x1 convolution with BatchNorm (`scale`);
    where C_in = C_out at stride 1, a BatchNorm of the input (`identity`). Their sum, then the activation.

    The 1x1 convolution and the identity see the pixel under the kernel's centre tap, (k - 1) // 2 from its first one,
    wherever padding and stride put that: with TensorFlow's `same` at stride 2 it lies one pixel further on in an image
    of even side than in one of odd side. So they fold into that tap for every input size, and what they see of the
    padding is zero, as the kernel does.

    Each of B branches begins with a BatchNorm scale of 1 / sqrt(B), so that their sum begins with the variance of a
    single convolution's; the papers' code begins at 1. Raises UserError without normalisation.

    >>> layer = BranchedConvNormAct(8, 8, 3, groups=8, norm=Norm(), act="relu", branches=2).eval()
    >>> x = torch.randn(1, 8, 12, 12)
    >>> layer.scale is not None, layer.identity is not None
    (True, True)
    >>> torch.allclose(layer(x), layer.merged()(x), atol=1e-5)
    True
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        *,
        act: Activation = "identity",
        norm: Norm | None = None,
        branches: int = 1,
        **settings: Unpack[ConvSettings],
    ) -> None:
        super().__init__()
        if norm is None or norm.kind == "none":
            raise UserError("a convolution with branches needs BatchNorm in each; allowed norm: batch")
        self.branches = nn.ModuleList(
            ConvNormAct(c_in, c_out, kernel, norm=norm, **settings) for _ in range(check_count("branches", branches, 1))
        )
        groups, stride = settings.get("groups", 1), settings.get("stride", 1)
        self.scale = ConvNormAct(c_in, c_out, 1, groups=groups, norm=norm) if kernel > 1 else None
        self.identity = batch_norm(c_out, norm) if c_in == c_out and stride == 1 else None
        self.act = activation(act)
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        for each in norms:
            nn.init.constant_(each.weight, len(norms) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branches[0](x)
        for branch in self.branches[1:]:
            y = y + branch(x)
        if self.scale is None and self.identity is None:
            return self.act(y)
        seen = self._under_centre(x)
        if self.scale is not None:
            y = y + self.scale(seen)
        if self.identity is not None:
            fast = self.training and wanted(seen)
            y = y + (normalise(self.identity, nn.Identity(), seen) if fast else self.identity(seen))
        return self.act(y)

    def _under_centre(self, x: Tensor) -> Tensor:
        """The pixels of x (N, C_in, H, W) that the kernel's centre tap sees: (N, C_in, H', W').

        Gathered before the 1x1 convolution: one of stride 2 over 3 channels in channels_last destroys memory in the
        backward pass of torch 2.13 on a CPU.
        """
        first: ConvNormAct = self.branches[0]  # type: ignore[assignment]
        conv = first.conv
        stride, dilation = conv.stride[0], conv.dilation[0]
        before = centre_tap(conv.kernel_size[0]) * dilation
        after = (conv.kernel_size[0] - 1) * dilation - before
        left, right, top, bottom = conv.padding_of(x)
        moved = (left - before, right - after, top - before, bottom - after)
        if any(moved):
            x = F.pad(x, moved)
        if stride == 1:
            return x
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return x[:, :, ::stride, ::stride].contiguous(memory_format=layout)

    @torch.no_grad()
    def merged(self) -> ConvNormAct:
        """The one convolution with a bias that the branches are in evaluation mode, and the activation.

        Computed in float64, kept in the weights' type; on the device and in the mode of the module.
        """
        plain: ConvNormAct = copy.deepcopy(self.branches[0])  # type: ignore[assignment]  # the geometry of each
        weight = torch.zeros_like(plain.conv.weight, dtype=torch.float64)
        bias = weight.new_zeros(len(weight))
        tap = centre_tap(weight.shape[-1])
        for branch in self.branches:
            each, shift = _linear(branch)  # type: ignore[arg-type]
            weight, bias = weight + each, bias + shift
        if self.scale is not None:
            each, shift = _linear(self.scale)
            weight[:, :, tap, tap] += each[:, :, 0, 0]
            bias = bias + shift
        if self.identity is not None:
            each, shift = folded_norm(_identity_kernel(weight), None, self.identity)
            weight[:, :, tap, tap] += each[:, :, 0, 0]
            bias = bias + shift
        conv = plain.conv
        conv.weight, conv.bias = fixed(weight, conv.weight), fixed(bias, conv.weight)
        plain.norm, plain.act = nn.Identity(), copy.deepcopy(self.act)
        return plain.train(self.training)


def fold_branches_(network: nn.Module) -> nn.Module:
    """`network` itself, each layer inside it that trains with branches replaced by the one convolution they are.

    A network's Spec is not touched: `nn.deployed.deployed` gives a network whose Spec says what it is.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BranchedConvNormAct):
                setattr(parent, name, child.merged())
    return network


def centre_tap(kernel: int) -> int:
    """Index of a kernel's centre along an axis; of the two of an even kernel the first.

    >>> [centre_tap(kernel) for kernel in (1, 2, 3, 5, 7)]
    [0, 0, 1, 2, 3]
    """
    return (kernel - 1) // 2


def _linear(branch: ConvNormAct) -> tuple[Tensor, Tensor]:
    """Weight (C_out, C_in / groups, k, k) and bias (C_out,) of a convolution with BatchNorm, float64."""
    assert isinstance(branch.norm, nn.BatchNorm2d)
    return folded_norm(branch.conv.weight, branch.conv.bias, branch.norm)


def _identity_kernel(like: Tensor) -> Tensor:
    """The 1x1 kernel (C, C / groups, 1, 1) of a grouped convolution that gives its input; C and groups are those of
    `like` (C, C / groups, k, k).
    """
    channels, inputs = like.shape[:2]
    kernel = like.new_zeros(channels, inputs, 1, 1)
    places = torch.arange(channels, device=like.device)
    kernel[places, places % inputs] = 1
    return kernel
