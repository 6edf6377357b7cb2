"""BatchNorm with its activation by the kernels against torch: values, gradients, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.norm_act import norm_act

pytestmark = pytest.mark.skipif(not available()[0], reason=f"no kernels: {available()[1]}")

ACTIVATIONS = [nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish]


def layer(c: int, momentum: float | None = 0.1) -> nn.BatchNorm2d:
    """A BatchNorm whose factors are not one."""
    norm = nn.BatchNorm2d(c, momentum=momentum, eps=1e-3)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


def images(n: int, c: int, h: int, w: int) -> Tensor:
    """Random ones in channels_last memory."""
    return torch.randn(n, c, h, w).mul(2).add(1).contiguous(memory_format=torch.channels_last)


def both(y: Tensor, norm: nn.BatchNorm2d, act: nn.Module, dz: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """(z, dy, dgamma, dbeta, running mean, running variance) by the kernels, and by torch in float64."""
    results = []
    for exact in (False, True):
        one = copy.deepcopy(norm).double() if exact else copy.deepcopy(norm)
        given = y.detach().to(torch.float64 if exact else y.dtype).requires_grad_()
        z = act(one(given)) if exact else norm_act(given, one, act)
        z.backward(dz.to(z.dtype))
        assert one.running_mean is not None
        assert one.running_var is not None
        found = (z.detach(), given.grad, one.weight.grad, one.bias.grad, one.running_mean, one.running_var)
        results.append([value for value in found if value is not None])
        assert int(one.num_batches_tracked or 0) == 1
    assert len(results[0]) == len(results[1]) == 6
    return results[0], results[1]


def error(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize(
    ("n", "c", "h", "w"), [(4, 24, 9, 7), (2, 2, 5, 5), (1, 16, 40, 41), (33, 70, 1, 1), (2, 3, 1, 1)]
)
def test_equals_torch(act: type[nn.Module], n: int, c: int, h: int, w: int) -> None:
    torch.manual_seed(c)
    y = images(n, c, h, w)
    ours, theirs = both(y, layer(c), act(), torch.randn_like(y))
    for a, b in zip(ours, theirs):
        assert error(a, b) < 2e-5


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bfloat16_is_rounded_once(act: type[nn.Module]) -> None:
    torch.manual_seed(1)
    y = images(8, 40, 14, 14).bfloat16()
    dz = torch.randn_like(y)
    ours, theirs = both(y, layer(40), act(), dz)
    assert ours[0].dtype == ours[1].dtype == torch.bfloat16
    for a, b in zip(ours[:2], theirs[:2]):
        assert ((a.double() - b).abs() <= b.abs() * 2**-8 + 1e-5).all()
    for a, b in zip(ours[2:], theirs[2:]):
        assert error(a, b) < 1e-5


@pytest.mark.parametrize("offset", [0.0, 100.0, -3000.0])
def test_a_mean_far_from_zero_costs_no_digits(offset: float) -> None:
    torch.manual_seed(2)
    y = (torch.randn(8, 20, 28, 28) + offset).contiguous(memory_format=torch.channels_last)
    ours, theirs = both(y, layer(20), nn.Identity(), torch.randn_like(y))
    assert error(ours[5], theirs[5]) < 1e-6
    assert error(ours[0], theirs[0]) < 1e-5 + abs(offset) * 2**-24  # what float32 leaves of the mean itself


def test_a_constant_channel_has_no_variance() -> None:
    y = torch.full((4, 8, 6, 6), 7.25).contiguous(memory_format=torch.channels_last)
    norm = layer(8)
    z = norm_act(y, norm, nn.Identity())
    assert torch.equal(z, norm.bias.detach().view(1, 8, 1, 1).expand_as(z))


@pytest.mark.parametrize("momentum", [0.1, 0.003, None])
def test_running_statistics_are_torchs(momentum: float | None) -> None:
    torch.manual_seed(3)
    ours, theirs = layer(24, momentum), layer(24, momentum)
    for _ in range(3):
        y = images(3, 24, 8, 8)
        norm_act(y, ours, nn.ReLU())
        theirs(y)
    assert torch.equal(ours.num_batches_tracked, theirs.num_batches_tracked)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-6, atol=1e-6)


def test_nothing_but_the_convolutions_output_is_kept_for_the_backward_pass() -> None:
    y = images(4, 32, 16, 16).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        norm_act(y, layer(32), nn.Hardswish())
    large = [tensor for tensor in kept if tensor.numel() > 32]
    assert [tensor.data_ptr() for tensor in large] == [y.data_ptr()]


def test_not_a_number_stays_one() -> None:
    y = images(2, 16, 4, 4)
    y[0, 3, 1, 1] = float("nan")
    z = norm_act(y, layer(16), nn.ReLU6())
    assert z[:, 3].isnan().all()
    assert not z[:, :3].isnan().any()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_sums_repeat(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        torch.manual_seed(4)
        y, norm = images(3, 24, 31, 30), layer(24)
        dz = torch.randn_like(y)
        first, second = (both(y, norm, nn.ReLU6(), dz)[0] for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))
    finally:
        torch.set_num_threads(before)
