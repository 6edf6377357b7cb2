"""Stochastic depth: residual branches that are left out at random during training (Huang et al. 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from ..arch.check import check_number
from .noise import uniform


def drop_branch(branch: Tensor, rate: float) -> Tensor:
    """The branch (N, C, H, W) with that part of its images set to 0 and the rest scaled so that the mean stays.

    As the authors of V4 and EfficientNet do it, each image on its own: Huang et al. drop a branch for the whole batch,
    and scale at evaluation.
    """
    kept = uniform(branch, 1, 1, 1) >= rate
    return branch * (kept / (1 - rate)).to(branch.dtype)


def set_stochastic_depth_(network: nn.Module, rate: float) -> None:
    """Sets the drop rate of every residual block in place: of L such blocks the l-th drops rate * l / L.

    It acts in training mode alone, and is no part of the state. Raises UserError unless `rate` is within 0...1.

    >>> from mobilenets import create_model
    >>> network = create_model("mobilenet_v2")
    >>> set_stochastic_depth_(network, 0.2)
    >>> [round(block.drop_rate, 2) for block in network.blocks if block.residual]
    [0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2]
    """
    check_number("stochastic depth", rate, least=0, below=1)
    residual = [block for block in network.modules() if getattr(block, "residual", False)]
    for index, block in enumerate(residual, 1):
        block.drop_rate = rate * index / len(residual)  # type: ignore[assignment]
