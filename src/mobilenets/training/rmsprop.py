"""RMSprop as TensorFlow computes it, which is what MobileNet V1 to V3 were trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class RMSpropTF(Optimizer):
    """`tf.train.RMSPropOptimizer`: for each weight w with gradient g

        g += weight_decay * w
        s  = rho * s + (1 - rho) * g**2        s starts at 1
        m  = momentum * m + lr * g / sqrt(s + eps)
        w -= m

    torch's RMSprop differs three times: s starts at 0, so that the first steps are far too long; eps stands outside the
    root, where 1.0 or 0.001 means something else; and the learning rate multiplies m as a whole, so that a lower one
    takes hold of the past at once. (tensorflow core/kernels/training_ops.cc, `ApplyRMSProp`.)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        rho: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step down the gradients; weights without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(group, weights)
        return loss

    def _move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        gradients: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        squares, moments = zip(*(self._state_of(weight) for weight in weights))
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["rho"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_addcdiv_(moments, gradients, roots, value=group["lr"])
        torch._foreach_sub_(weights, moments)

    def _state_of(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[weight]
        if not state:
            state["square_avg"] = torch.ones_like(weight)
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["square_avg"], state["momentum_buffer"]
