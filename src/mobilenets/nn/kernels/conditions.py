"""When the kernels take a layer's place: only where nobody can tell but by the clock."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from .binding import loaded

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def wanted(x: Tensor) -> bool:
    """Whether a layer in training may run x through the kernels.

    x is a plain float32 or bfloat16 tensor (N, C, H, W) on the CPU in channels_last memory, gradients are on, and
    nothing watches the operators: no torch.compile, export, tracing, functorch transform or dispatch mode.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not Tensor:
        return False
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and x.ndim == 4
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and working_dtype(x) is not None
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and loaded().library is not None
    )


def working_dtype(x: Tensor) -> torch.dtype | None:
    """What a convolution of float32 weights would compute x in, where the kernels have that: float32 or bfloat16."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        return dtype if dtype == torch.bfloat16 and x.dtype in (torch.float32, torch.bfloat16) else None
    return x.dtype if x.dtype == torch.float32 else None


def untouched(layer: nn.Module) -> bool:
    """Whether nobody listens to the layer or has put another forward into it."""
    return not (
        any(getattr(layer, hooks) for hooks in _HOOKS)
        or "forward" in layer.__dict__
        or torch_module._has_any_global_hook()
    )


def plain(*parameters: Tensor | None) -> bool:
    """Whether these are ordinary float32 parameters on the CPU."""
    return all(
        parameter is not None
        and type(parameter) is nn.Parameter
        and parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
        for parameter in parameters
    )
