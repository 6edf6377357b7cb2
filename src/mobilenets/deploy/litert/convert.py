"""From torch to the records of a .tflite file, by litert-torch, without a word on the console."""

from __future__ import annotations

import warnings
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ...extras import require
from .quiet import quiet

if TYPE_CHECKING:
    from ..runtimes import Shippable


def converted(module: Shippable, *, quantised: bool) -> Any:
    """The model as litert-torch leaves it, in LiteRT's own records (schema's ModelT): one image at a time.

    `quantised` says that the module's graph has quantisation in it, which becomes the file's integer operators. Raises
    UserError where litert-torch is missing, with the commands that install it and set typing_extensions right again.
    """
    import torch

    # JAX, which comes with the converter, warns of every child process from then on; ours replace themselves at once
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    with quiet():
        (litert_torch,) = require("litert", "litert_torch")
        from ai_edge_litert import schema_py_generated as schema

        litert_torch.config.show_progress = False
        size = module.spec.resolution
        example = (torch.zeros((1, size, size, 3), dtype=torch.uint8),)
        with torch.no_grad():
            graph_module = torch.export.export(module, example, strict=False).module()
            _change_layout_last_(graph_module)
            if quantised:
                _weights_as_floats_(graph_module)
            edge = litert_torch.convert(graph_module, example, quant_config=_static() if quantised else None)
            data = edge.model_content()
    return schema.ModelT.InitFromPackedBuf(data, 0)


def _static() -> Any:
    """What tells the converter that the graph's quantisation is static. Nothing is quantised by it."""
    from litert_torch.quantize import pt2e_quantizer, quant_config

    quantizer = pt2e_quantizer.PT2EQuantizer()
    quantizer.set_global(pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True))
    return quant_config.QuantConfig(pt2e_quantizer=quantizer)


def _change_layout_last_(graph_module: Any) -> None:
    """Normalises in the image's own layout, NHWC, and changes it to torch's NCHW after that.

    The converter has to change it back for its convolutions; only two changes in a row cancel out.
    """
    from torch import ops

    graph = graph_module.graph
    for node in list(graph.nodes):  # what the exporter asserts of each conversion would count as a use of its input
        if node.target is ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    permute = next(node for node in graph.nodes if node.target is ops.aten.permute.default)
    last = permute
    while len(last.users) == 1 and (following := next(iter(last.users))).target in _elementwise():
        last = following
        for constant in [node for node in last.all_input_nodes if node.op == "get_attr"]:
            with graph.inserting_before(last):  # (3, 1, 1) -> (3,)
                last.replace_input_with(constant, graph.call_function(ops.aten.reshape.default, (constant, [-1])))
    if last is permute:
        return
    with graph.inserting_after(last):
        moved = graph.call_function(ops.aten.permute.default, (last, permute.args[1]))
    last.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)
    permute.replace_all_uses_with(permute.args[0])
    graph.erase_node(permute)
    graph_module.recompile()


def _elementwise() -> set[Any]:
    """The operators of a normalisation, and of its quantisation, that work in any layout."""
    from torch import ops

    aten, decomposed = ops.aten, _decomposed()
    plain = {aten.to.dtype, aten._to_copy.default, aten.sub.Tensor, aten.mul.Tensor}
    return plain | {decomposed.quantize_per_tensor.default, decomposed.dequantize_per_tensor.default}


def _weights_as_floats_(graph_module: Any) -> None:
    """Weights that are stored as integers become floats and a quantisation to the same integers again.

    That is the form in which the converter recognises them.
    """
    decomposed, graph = _decomposed(), graph_module.graph
    pairs = {
        decomposed.dequantize_per_tensor.default: decomposed.quantize_per_tensor.default,
        decomposed.dequantize_per_channel.default: decomposed.quantize_per_channel.default,
    }
    for number, node in enumerate(list(graph.nodes)):
        if node.target not in pairs or node.args[0].op != "get_attr":
            continue
        values = [_value(graph_module, each) for each in node.args]
        name = f"weight_{number}"
        graph_module.register_buffer(name, node.target(*values, **node.kwargs))
        with graph.inserting_before(node):
            floats = graph.get_attr(name)
            node.update_arg(0, graph.call_function(pairs[node.target], (floats, *node.args[1:])))
    graph_module.recompile()


def _value(graph_module: Any, argument: Any) -> Any:
    """An argument of a node, a constant's tensor where it names one."""
    from torch.fx import Node

    return attrgetter(str(argument.target))(graph_module) if isinstance(argument, Node) else argument


def _decomposed() -> Any:
    """The operators of PT2E's graphs."""
    import torch.ao.quantization.fx._decomposed  # registers them

    return torch.ops.quantized_decomposed
