"""The depthwise kernels against torch's convolution in float64: values and both gradients, over all their forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.depthwise import Geometry, depthwise

pytestmark = pytest.mark.skipif(not available()[0], reason=f"no kernels: {available()[1]}")

# Padding (left, right, top, bottom) from the kernel's reach.
PADDINGS = {
    "symmetric": lambda reach: (reach // 2,) * 4,
    "same": lambda reach: (reach // 2 - (reach > 1), reach // 2, reach // 2, reach - reach // 2),
    "after": lambda reach: (0, reach, 0, reach),
    "before": lambda reach: (reach, 0, reach, 0),
    "none": lambda reach: (0, 0, 0, 0),
}


def run(x: Tensor, weight: Tensor, dy: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Output and both gradients by the kernels."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = depthwise(x, weight, geometry)
    y.backward(dy)
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad


def reference(x: Tensor, weight: Tensor, dy: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """The same by torch in float64."""
    x, weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    stride, dilation, *pads = geometry
    y = F.conv2d(F.pad(x, pads), weight, stride=stride, dilation=dilation, groups=x.shape[1])
    y.backward(dy.double())
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad


def case(
    k: int, stride: int, dilation: int, padding: str, *, n: int = 2, c: int = 24, h: int = 13, w: int = 18
) -> tuple[Tensor, Tensor, Tensor, Geometry]:
    """Random input, weight and output gradient."""
    torch.manual_seed(k * 100 + stride * 10 + dilation)
    geometry = Geometry(stride, dilation, *PADDINGS[padding]((k - 1) * dilation))
    x = torch.randn(n, c, h, w).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(c, 1, k, k)
    dy = torch.randn_like(depthwise(x, weight, geometry))
    return x, weight, dy, geometry


def error(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    assert a.shape == b.shape
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 9])
def test_equals_torch(k: int, stride: int, dilation: int, padding: str) -> None:
    x, weight, dy, geometry = case(k, stride, dilation, padding, h=19, w=23)
    for ours, theirs in zip(run(x, weight, dy, geometry), reference(x, weight, dy, geometry)):
        assert error(ours, theirs) < 2e-6


@pytest.mark.parametrize("c", [2, 8, 15, 16, 17, 40, 96])
@pytest.mark.parametrize(("h", "w"), [(7, 7), (14, 14), (16, 9), (31, 28), (5, 64), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_sizes_and_channels(c: int, h: int, w: int, stride: int) -> None:
    x, weight, dy, geometry = case(5, stride, 1, "symmetric", n=1, c=c, h=h, w=w)
    for ours, theirs in zip(run(x, weight, dy, geometry), reference(x, weight, dy, geometry)):
        assert error(ours, theirs) < 2e-6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_bfloat16_is_rounded_once(k: int, stride: int) -> None:
    """Sums are float32: activations and their gradient are off by half a unit of bfloat16's eight bits at most."""
    x, weight, dy, geometry = case(k, stride, 1, "symmetric", c=40)
    x, dy = x.bfloat16(), dy.bfloat16()
    y, dx, dw = run(x, weight, dy, geometry)
    y_true, dx_true, dw_true = reference(x, weight, dy, geometry)
    assert y.dtype == dx.dtype == torch.bfloat16
    assert dw.dtype == torch.float32
    for ours, theirs in ((y, y_true), (dx, dx_true)):
        assert ((ours.double() - theirs).abs() <= theirs.abs() * 2**-8 + 1e-5).all()
    assert error(dw, dw_true) < 2e-6


def test_no_gradient_is_made_that_nobody_wants() -> None:
    x, weight, dy, geometry = case(3, 1, 1, "symmetric")
    frozen = depthwise(x.requires_grad_(), weight, geometry)
    (dx,) = torch.autograd.grad(frozen, x, dy)
    (dw,) = torch.autograd.grad(depthwise(x.detach(), weight.requires_grad_(), geometry), weight, dy)
    _, dx_true, dw_true = reference(x, weight, dy, geometry)
    assert error(dx, dx_true) < 2e-6
    assert error(dw, dw_true) < 2e-6


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_share_the_work_and_repeat_their_sums(threads: int) -> None:
    """One image is split by rows; a number of threads gives the same bits each time."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for stride in (1, 2):
            for n in (1, 5):
                x, weight, dy, geometry = case(3, stride, 1, "symmetric", n=n, c=33, h=29, w=30)
                first = run(x, weight, dy, geometry)
                assert all(torch.equal(a, b) for a, b in zip(first, run(x, weight, dy, geometry)))
                assert all(error(a, b) < 2e-6 for a, b in zip(first, reference(x, weight, dy, geometry)))
    finally:
        torch.set_num_threads(before)


def test_a_gradient_in_another_layout_is_taken() -> None:
    x, weight, dy, geometry = case(3, 1, 1, "symmetric")
    for ours, theirs in zip(run(x, weight, dy.contiguous(), geometry), reference(x, weight, dy, geometry)):
        assert error(ours, theirs) < 2e-6
