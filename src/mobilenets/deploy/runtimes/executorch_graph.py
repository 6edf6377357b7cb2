"""The graph that ExecuTorch lowers: the network's own, written so that XNNPACK takes all of it after the cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Node

if TYPE_CHECKING:
    from torch.export import ExportedProgram

aten = torch.ops.aten


def program_for_xnnpack(module: torch.nn.Module, size: int) -> ExportedProgram:
    """`module` exported for one image, uint8 (1, size, size, 3), with the operators that XNNPACK has.

    Exported as it is, V3-Small falls into 11 delegates with copies in between: ExecuTorch makes global pooling a mean
    with as_strided and a hard sigmoid one with integer constants, neither of which XNNPACK takes.
    """
    example = (torch.zeros((1, size, size, 3), dtype=torch.uint8),)
    with torch.no_grad():
        graph_module = torch.export.export(module, example, strict=False).module(check_guards=False)
        assert isinstance(graph_module, GraphModule)
        _rewrite_(graph_module)
        return torch.export.export(graph_module, example, strict=False)


def _rewrite_(graph_module: GraphModule) -> None:
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.target is aten.adaptive_avg_pool2d.default:
            node.target, node.args = aten.mean.dim, (node.args[0], [2, 3], True)
        elif node.target is aten.hardsigmoid.default:
            _clamp_(graph_module, node)
        elif node.target is aten.permute.default and node.args[0].op == "placeholder":
            _cast_first_(node)
    graph.lint()
    graph_module.recompile()


def _clamp_(graph_module: GraphModule, node: Node) -> None:
    """hardsigmoid(x) as clamp(x / 6 + 1/2, 0, 1), the numbers as tensors of x's rank."""
    graph = graph_module.graph
    constants = {"hard_sigmoid_slope": 1 / 6, "hard_sigmoid_offset": 0.5}
    for name, value in constants.items():
        if not hasattr(graph_module, name):
            graph_module.register_buffer(name, torch.full((1, 1, 1, 1), value))
    slope, offset = constants
    with graph.inserting_before(node):
        product = graph.call_function(aten.mul.Tensor, (node.args[0], graph.get_attr(slope)))
        total = graph.call_function(aten.add.Tensor, (product, graph.get_attr(offset)))
    node.target, node.args = aten.hardtanh.default, (total, 0.0, 1.0)


def _cast_first_(permute: Node) -> None:
    """image -> permute -> float as image -> float -> permute: XNNPACK moves floats, not bytes."""
    (cast,) = permute.users
    image = permute.args[0]
    assert isinstance(image, Node)
    order: Any = permute.args[1]
    with permute.graph.inserting_before(permute):
        floats = permute.graph.call_function(cast.target, (image, *cast.args[1:]), cast.kwargs)  # type: ignore[arg-type]
        moved = permute.graph.call_function(aten.permute.default, (floats, order))
    cast.replace_all_uses_with(moved)
    permute.graph.erase_node(cast)
    permute.graph.erase_node(permute)
