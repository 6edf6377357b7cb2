"""The graph a reader would give for a network of ours: the inverse of `recognise`, in the ways formats differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.arch.spec import Spec
from mobilenets.nn.layers import ConvNormAct, PaddedConv2d
from mobilenets.nn.network import Network, build_network
from mobilenets.weights.graph import Graph, Node

ACTS = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardswish: "hard_swish", nn.GELU: "gelu", nn.LeakyReLU: "leaky_relu"}
GATES = {nn.Hardsigmoid: "hard_sigmoid", nn.Sigmoid: "sigmoid"}


def random_network(spec: Spec, seed: int = 0) -> Network:
    """A network in evaluation mode whose BatchNorm statistics are no identity."""
    torch.manual_seed(seed)
    network = build_network(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@dataclass
class Writer:
    """Writes nodes in one of the ways in which formats write the same thing."""

    apart: bool = False  # padding, hard forms and BatchNorm's factors as operations of their own
    nodes: list[Node] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)

    def add(self, op: Any, inputs: tuple[str, ...], **rest: Any) -> str:
        name = f"n{len(self.nodes)}"
        weights = {k: np.asarray(v.detach().numpy(), np.float32) for k, v in rest.pop("weights", {}).items()}
        sources = tuple(f"{name}/{role}" for role in weights)
        self.tensors += sources
        node = Node(op=op, name=name, inputs=inputs, output=f"v{name}", weights=weights, sources=sources, **rest)
        self.nodes.append(node)
        return node.output

    def conv(self, x: str, conv: nn.Conv2d) -> str:
        weights = {"weight": conv.weight} | ({"bias": conv.bias} if conv.bias is not None else {})
        pad: Any = (conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0])
        if isinstance(conv, PaddedConv2d) and conv.outer:
            pad = "same"
        elif isinstance(conv, PaddedConv2d) and conv.pad is not None:
            pad = conv.pad
        if self.apart and pad != "same" and any(pad):
            x = self.add("pad", (x,), pad=pad)
            pad = (0, 0, 0, 0)
        stride, dilation = (conv.stride[0], conv.stride[1]), (conv.dilation[0], conv.dilation[1])
        return self.add("conv", (x,), weights=weights, pad=pad, stride=stride, dilation=dilation, groups=conv.groups)

    def norm(self, x: str, norm: nn.Module) -> str:
        if not isinstance(norm, nn.BatchNorm2d):
            return x
        statistics = {"mean": norm.running_mean, "var": norm.running_var}
        factors = {"scale": norm.weight, "offset": norm.bias}
        if not self.apart:
            return self.add("norm", (x,), weights=statistics | factors, eps=norm.eps)
        return self.add("affine", (self.add("norm", (x,), weights=statistics, eps=norm.eps),), weights=factors)

    def act(self, x: str, module: nn.Module) -> str:
        if isinstance(module, nn.Identity):
            return x
        name = (ACTS | GATES)[type(module)]
        if not self.apart or name not in ("hard_swish", "hard_sigmoid"):
            return self.add("act", (x,), act=name, slope=getattr(module, "negative_slope", 0.0))
        clipped = self.add("act", (self.add("affine", (x,), weights={"offset": torch.tensor([3.0])}),), act="relu6")
        sixth = {"scale": torch.tensor([1 / 6])}
        if name == "hard_sigmoid":
            return self.add("affine", (clipped,), weights=sixth)
        return self.add("affine", (self.add("mul", (x, clipped)),), weights=sixth)

    def layer(self, x: str, layer: ConvNormAct) -> str:
        return self.act(self.norm(self.conv(x, layer.conv), layer.norm), layer.act)


def graph_of(network: Network, *, apart: bool = False, size: int | None = None) -> Graph:
    """The graph of a network without attention, ending in softmax where it has a classifier."""
    write, x = Writer(apart), "image"
    for module in network.blocks:
        start = x
        for name, child in module.named_children():
            if isinstance(child, ConvNormAct):
                x = write.layer(x, child)
            elif name == "se" and not isinstance(child, nn.Identity):
                scale = write.add("pool", (x,))
                scale = write.act(write.conv(scale, child.reduce), child.act)
                scale = write.act(write.conv(scale, child.expand), child.gate)
                x = write.add("mul", (x, scale))
        if module.residual:
            x = write.add("add", (start, x))
    x = write.add("pool", (x,))
    if not isinstance(network.head.hidden, nn.Identity):
        x = write.layer(x, network.head.hidden)
    if network.head.classifier is not None:
        x = write.add("same", (x,))
        linear = network.head.classifier
        x = write.add("linear", (x,), weights=dict(linear.named_parameters()))
        x = write.add("softmax", (x,))
    side = network.spec.resolution if size is None else size
    return Graph(
        nodes=tuple(write.nodes),
        input="image",
        outputs=(x,),
        channels=network.spec.in_channels,
        height=side,
        width=side,
        tensors=tuple(write.tensors),
    )
