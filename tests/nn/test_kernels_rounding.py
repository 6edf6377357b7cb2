"""Rounding with a learnt step: our kernel against plain torch and against the definition of its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.binding import SWITCH
from mobilenets.nn.kernels.rounding import round_to_steps

needs_kernels = pytest.mark.skipif(not available()[0], reason=f"no kernels: {available()[1]}")
CASES = [(0, -128, 127), (-128, -128, 127), (17, -128, 127), (0, -127, 127)]


def run(x: Tensor, step: float, case: tuple[int, int, int], dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, dx and dstep."""
    given, size = x.clone().requires_grad_(), torch.tensor([step], requires_grad=True)
    y = round_to_steps(given, size, *case)
    y.backward(dy)
    assert given.grad is not None
    assert size.grad is not None
    return y.detach(), given.grad, size.grad


@needs_kernels
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 33, 5, 3)])
def test_kernel_equals_torch(
    shape: tuple[int, ...], case: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x, dy = torch.randn(shape) * 4, torch.randn(shape)
    if x.ndim == 4:
        x, dy = x.contiguous(memory_format=torch.channels_last), dy.contiguous(memory_format=torch.channels_last)
    found = run(x, 0.043, case, dy)
    monkeypatch.setenv(SWITCH, "0")
    wanted = run(x, 0.043, case, dy)
    assert torch.allclose(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert torch.allclose(found[2], wanted[2], rtol=1e-4, atol=1e-4)
    assert found[0].stride() == x.stride()


@needs_kernels
def test_forward_is_what_is_shipped() -> None:
    """The very values of torch's fake quantisation, ends and ties included."""
    x = torch.cat([torch.linspace(-300, 300, 4001), torch.arange(-200, 200) + 0.5]) * 0.0625
    y, _, _ = run(x, 0.0625, (3, -128, 127), torch.ones_like(x))
    assert torch.equal(y, torch.fake_quantize_per_tensor_affine(x, 0.0625, 3, -128, 127))


@pytest.mark.parametrize("kernels", [pytest.param(True, marks=needs_kernels), False])
def test_gradient_of_the_step(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Esser et al. 2020, equation 3: round(v) - v inside, the nearer end outside."""
    if not kernels:
        monkeypatch.setenv(SWITCH, "0")
    x = torch.tensor([0.3, -0.8, 40.0, -40.0])
    _, dx, dstep = run(x, 0.25, (0, -128, 127), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    inside = 1 * (1 - 0.3 / 0.25) + 2 * (-3 + 0.8 / 0.25)
    assert dstep.item() == pytest.approx(inside + 3 * 127 + 4 * -128, rel=1e-5)
    assert dx.tolist() == [1, 2, 0, 0]


@needs_kernels
def test_not_a_number_stays_one() -> None:
    y, _, _ = run(torch.tensor([float("nan"), 1.0]), 0.5, (0, -128, 127), torch.ones(2))
    assert torch.isnan(y[0])
    assert y[1] == 1
