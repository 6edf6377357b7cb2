"""Plain static quantisation to int8, by torchao's export path (PT2E)."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arch.spec import Spec
from ..console import progress
from ..extras import require

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from .quantizer import MobileQuantizer

BATCH = 32


class Quantised(nn.Module):
    """A quantised network that takes what the float one takes. `spec` is the float network's.

    `network` holds int8 weights and, around each operator, `quantized_decomposed` quantize and dequantize nodes: torch
    computes what a runtime's integer kernels compute, in float. It can be exported again, with any batch size.
    """

    def __init__(self, network: GraphModule, spec: Spec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.training = False

    def train(self, mode: bool = True) -> Quantised:
        """Itself: what was calibrated has no training mode. Raises RuntimeError for one."""
        if mode:
            raise RuntimeError("a quantised network is not trained")
        return self

    def forward(self, image: Tensor) -> Tensor:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        return self.network(image)


def quantise(module: nn.Module, images: np.ndarray, quantizer: MobileQuantizer | None = None) -> Quantised:
    """The int8 form of `module` (a `deploy.wrap.Shipped`), calibrated with `images`, uint8 RGB (n, R, R, 3), n >= 1.

    The same images give the same bytes. Raises UserError where torchao is missing.
    """
    with quiet():
        (pt2e,) = require("int8", "torchao.quantization.pt2e.quantize_pt2e")
        from .quantizer import MobileQuantizer

        spec: Spec = module.spec  # type: ignore[assignment]
        prepared = pt2e.prepare_pt2e(_graph(module, images), quantizer or MobileQuantizer())
        _calibrate(prepared, images)
        return Quantised(_without_floats_(pt2e.convert_pt2e(prepared)), spec)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torchao's remarks about its own internals and about its missing CUDA kernels from the user."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, before):
            each.setLevel(level)


def _graph(module: nn.Module, images: np.ndarray) -> Any:
    """The module as a graph of ATen operators, any batch size."""
    plain = _norms_as_convolutions_(copy.deepcopy(module))
    example = torch.from_numpy(np.ascontiguousarray(np.repeat(images[:1], 2, axis=0)))
    with torch.no_grad():
        program = torch.export.export(plain, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
    graph_module = program.module(check_guards=False)
    for node in list(graph_module.graph.nodes):
        if node.target in (torch.ops.aten.dropout.default, torch.ops.aten._assert_tensor_metadata.default):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    graph_module.recompile()
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


def _without_floats_(graph_module: GraphModule) -> GraphModule:
    """`graph_module` itself, without the float weights that its graph no longer reads."""
    read = {node.target for node in graph_module.graph.nodes if node.op == "get_attr"}
    for name, _ in list(graph_module.named_parameters()):
        if name not in read:
            parent, _, leaf = name.rpartition(".")
            delattr(graph_module.get_submodule(parent), leaf)
    return graph_module


def _calibrate(prepared: nn.Module, images: np.ndarray) -> None:
    """Shows the observers all images."""
    with torch.no_grad(), progress() as bar:
        task = bar.add_task("calibrate", total=len(images), note="")
        for start in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[start : start + BATCH])
            prepared(torch.from_numpy(batch))
            bar.update(task, advance=len(batch))
