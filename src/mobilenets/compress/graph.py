"""The float network as a graph of ATen operators, the form in which it is quantised."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.fx import GraphModule

aten = torch.ops.aten
WEIGHTED = (aten.conv2d.default, aten.conv2d.padding, aten.linear.default)


def network_graph(module: nn.Module, images: np.ndarray) -> Any:
    """`module` (uint8 (N, R, R, 3) -> logits) as a graph for any batch size; its weights are copies."""
    plain = _norms_as_convolutions_(copy.deepcopy(module))
    example = torch.from_numpy(np.ascontiguousarray(np.repeat(images[:1], 2, axis=0)))
    with torch.no_grad():
        program = torch.export.export(plain, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
        graph_module = program.module(check_guards=False)
    for node in list(graph_module.graph.nodes):
        if node.target in (aten.dropout.default, aten._assert_tensor_metadata.default):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    graph_module.recompile()
    return graph_module


def constant(graph_module: GraphModule, target: Any) -> Tensor:
    """The tensor behind the constant of that name."""
    found: Tensor = attrgetter(str(target))(graph_module)
    return found


def without_floats_(graph_module: GraphModule) -> GraphModule:
    """`graph_module` itself, without the float weights that its graph no longer reads."""
    read = {node.target for node in graph_module.graph.nodes if node.op == "get_attr"}
    for name, _ in list(graph_module.named_parameters()):
        if name not in read:
            parent, _, leaf = name.rpartition(".")
            delattr(graph_module.get_submodule(parent), leaf)
    return graph_module


def _norms_as_convolutions_(module: nn.Module) -> nn.Module:
    """`module` itself, each BatchNorm left (in front of V4's attention) as the 1x1 depthwise convolution it is.

    PT2E would fold it into the convolution before, whose output the residual connection takes as well.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _as_convolution(child))
    return module


@torch.no_grad()
def _as_convolution(norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    conv = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features).requires_grad_(False)
    assert conv.bias is not None
    conv.weight.copy_(gain.view(-1, 1, 1, 1))
    conv.bias.copy_(norm.bias.double() - norm.running_mean.double() * gain)
    return conv.eval()
