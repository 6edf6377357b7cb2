"""The training form with branches is the one convolution that it folds into, over the grid of constructor arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilenets.arch.spec import ACTIVATIONS, Block, Norm, Padding
from mobilenets.errors import UserError
from mobilenets.nn.blocks import BLOCKS, Style
from mobilenets.nn.fold import fold_batch_norm_
from mobilenets.nn.kernels import available
from mobilenets.nn.kernels.binding import call
from mobilenets.nn.layers import ConvNormAct, PaddedConv2d
from mobilenets.nn.reparam import BranchedConvNormAct, fold_branches_
from mobilenets.nn.sync_norm import SyncBatchNorm2d, synchronise_

PADDINGS: dict[str, dict[str, Any]] = {
    "symmetric": {"padding": "symmetric"},
    "same": {"padding": "same"},
    "explicit": {"pad": (0, 1, 2, 1)},
    "explicit, equal": {"pad": (2, 2, 1, 1)},
}
CHANNELS = ((4, 6, 1), (6, 6, 1), (6, 6, 6), (6, 12, 6), (6, 6, 2))  # in, out, groups
SIZES = ((14, 15), (17, 16))  # even and odd sides


def lively_(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode, its BatchNorms far from the identity."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, -1.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.2, 2.0)  # type: ignore[arg-type]
    return module.eval()


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Within the tolerance of the largest value."""
    assert found.shape == expected.shape
    largest = expected.abs().max()
    assert largest > 0.1
    assert (found - expected).abs().max() <= tolerance * largest


def layer_of(c_in: int, c_out: int, kernel: int, branches: int, **settings: Any) -> nn.Module:
    """The training form with that many branches, or the plain layer with BatchNorm for 0."""
    if branches:
        return BranchedConvNormAct(c_in, c_out, kernel, branches=branches, **settings)
    return ConvNormAct(c_in, c_out, kernel, **settings)


@pytest.mark.parametrize("branches", [0, 1, 2, 4])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_the_training_form_is_the_deployed_form(
    kernel: int, stride: int, dilation: int, padding: str, branches: int
) -> None:
    torch.manual_seed(kernel)
    settings = {"stride": stride, "dilation": dilation, "norm": Norm(eps=1e-3), "act": "hard_swish"}
    for c_in, c_out, groups in CHANNELS:
        layer = layer_of(c_in, c_out, kernel, branches, groups=groups, **settings, **PADDINGS[padding])
        network = lively_(nn.Sequential(layer))
        inputs = [torch.randn(1, c_in, *size) for size in SIZES]
        with torch.inference_mode():
            expected = [network(x) for x in inputs]
            fold_batch_norm_(fold_branches_(network))
            found = [network(x) for x in inputs]
        kept = [type(part) for part in network.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
        assert kept == [PaddedConv2d]
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_activation_comes_after_the_sum(act: str) -> None:
    layer = lively_(BranchedConvNormAct(4, 4, 3, norm=Norm(), act=act, branches=2))  # type: ignore[arg-type]
    assert isinstance(layer, BranchedConvNormAct)
    x = torch.randn(2, 4, 9, 9)
    with torch.inference_mode():
        assert_same(layer.merged()(x), layer(x))
        summed = layer.branches[0](x) + layer.branches[1](x) + layer.scale(x) + layer.identity(x)  # type: ignore[misc]
        assert_same(layer(x), layer.act(summed))


@pytest.mark.parametrize("kernel", [2, 4])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_even_kernels(kernel: int, padding: Padding, stride: int) -> None:
    layer = lively_(BranchedConvNormAct(4, 4, kernel, norm=Norm(), stride=stride, padding=padding))
    assert isinstance(layer, BranchedConvNormAct)
    with torch.inference_mode():
        for size in SIZES:
            x = torch.randn(2, 4, *size)
            assert_same(layer.merged()(x), layer(x))


def test_which_branches_there_are() -> None:
    def of(c_in: int, c_out: int, kernel: int, stride: int) -> tuple[int, bool, bool]:
        layer = BranchedConvNormAct(c_in, c_out, kernel, stride=stride, norm=Norm(), branches=3)
        return len(layer.branches), layer.scale is not None, layer.identity is not None

    assert of(4, 4, 3, 1) == (3, True, True)
    assert of(4, 4, 3, 2) == (3, True, False)
    assert of(4, 8, 3, 1) == (3, True, False)
    assert of(4, 4, 1, 1) == (3, False, True)
    assert of(4, 8, 1, 1) == (3, False, False)


def test_the_sum_begins_with_the_variance_of_one_convolution() -> None:
    torch.manual_seed(0)
    layer = BranchedConvNormAct(32, 32, 3, norm=Norm(), branches=4)
    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert all((norm.weight == 6**-0.5).all() for norm in norms)
    with torch.no_grad():
        assert layer(torch.randn(16, 32, 16, 16)).var() == pytest.approx(1, rel=0.1)


def alone(layer: BranchedConvNormAct) -> BranchedConvNormAct:
    """`layer` in evaluation mode with its k x k branches at zero and the 1x1 kernel of `scale` at one."""
    for branch in layer.branches:
        nn.init.zeros_(branch.conv.weight)  # type: ignore[union-attr]
    for norm in (module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)
    assert layer.scale is not None
    nn.init.ones_(layer.scale.conv.weight)
    return layer.eval()


def test_the_1x1_sees_the_pixel_under_the_kernels_centre() -> None:
    """At stride 2 `same` pads an even side after it alone: the centre of the first window is pixel 1, else pixel 0."""
    x = torch.randn(1, 3, 8, 9)  # 8 rows: pixels 1, 3, 5, 7; 9 columns: pixels 0, 2, 4, 6, 8
    same = alone(BranchedConvNormAct(3, 3, 3, stride=2, groups=3, norm=Norm(eps=1e-12), padding="same"))
    with torch.inference_mode():
        assert_same(same(x), x[:, :, 1::2, ::2])
        symmetric = alone(BranchedConvNormAct(3, 3, 3, stride=2, groups=3, norm=Norm(eps=1e-12)))
        assert_same(symmetric(x), x[:, :, ::2, ::2])
        cut = alone(BranchedConvNormAct(3, 3, 5, stride=2, groups=3, norm=Norm(eps=1e-12), pad=(0, 0, 0, 0)))
        assert_same(cut(x), x[:, :, 2:6:2, 2:8:2])


def test_a_centre_on_the_padding_sees_zero() -> None:
    layer = alone(BranchedConvNormAct(2, 2, 3, groups=2, norm=Norm(eps=1e-12), pad=(3, 1, 1, 1)))
    assert layer.identity is not None
    x = torch.randn(1, 2, 4, 4)
    with torch.inference_mode():
        y = layer(x)
    assert_same(y[:, :, :, 2:], 2 * x)  # the 1x1 and the identity
    assert not y[:, :, :, :2].any()


def test_gradients_reach_every_branch_and_statistics_move() -> None:
    layer = BranchedConvNormAct(4, 4, 3, groups=4, norm=Norm(), branches=2, act="relu")
    layer(torch.randn(8, 4, 10, 10) + 1).square().mean().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    for norm in (m for m in layer.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.num_batches_tracked is not None
        assert norm.num_batches_tracked.item() == 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_the_kernels_train_it_as_torch_does(stride: int, padding: Padding, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def listen(name: str, *arguments: object) -> None:
        calls.append(name)
        call(name, *arguments)

    for module in ("depthwise", "norm_act"):
        monkeypatch.setattr(f"mobilenets.nn.kernels.{module}.call", listen)
    torch.manual_seed(0)
    layer = BranchedConvNormAct(8, 8, 3, stride=stride, groups=8, norm=Norm(), branches=2, act="relu6", padding=padding)
    images = torch.randn(4, 8, 12, 12).contiguous(memory_format=torch.channels_last)

    def step() -> list[Tensor]:
        layer.zero_grad()
        x = images.clone().requires_grad_()
        y = layer(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        assert x.grad is not None
        return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]

    fast = step()
    if available()[0]:
        assert calls.count("depthwise_forward") == 3
        assert calls.count("norm_act_forward") == (4 if stride == 1 else 3)
    monkeypatch.setenv("MOBILENETS_KERNELS", "0")
    for one, other in zip(fast, step(), strict=True):
        assert (one - other).abs().max() <= 1e-4 * max(1.0, float(other.abs().max()))


def test_a_strided_stem_trains_in_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 1x1 convolution of stride 2 over 3 channels ends the process there (torch 2.13): none is called."""
    monkeypatch.setenv("MOBILENETS_KERNELS", "0")
    layer = BranchedConvNormAct(3, 16, 3, stride=2, norm=Norm(), branches=1)
    layer.to(memory_format=torch.channels_last)
    strides = [m.stride for m in layer.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert strides == [(1, 1)]
    images = torch.randn(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        layer(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_batch_norm_over_processes_reaches_every_branch_and_folds() -> None:
    network = lively_(nn.Sequential(BranchedConvNormAct(4, 4, 3, norm=Norm(), branches=2)))
    before = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    synchronise_(network)
    assert sum(isinstance(m, SyncBatchNorm2d) for m in network.modules()) == before == 4
    x = torch.randn(1, 4, 6, 6)
    with torch.inference_mode():
        expected = network(x)
        assert_same(fold_branches_(network)(x), expected)


ROWS = [
    Block(kind="conv", c_in=6, c_mid=10, c_out=10, k_mid=3),
    Block(kind="separable", c_in=6, c_mid=12, c_out=10, k_mid=3, stride=2, c_se=4),
    Block(kind="inverted", c_in=6, c_mid=18, c_out=6, k_mid=5, c_se=8, act="hard_swish", linear=True, residual=True),
    Block(kind="fused", c_in=6, c_mid=24, c_out=10, k_mid=3, linear=True, stride=2, pad=(0, 1, 0, 1)),
    Block(kind="universal", c_in=6, c_mid=24, c_out=6, k_start=3, k_mid=5, residual=True, layer_scale=0.5),
    Block(kind="attention", c_in=6, c_mid=12, c_out=6, heads=3, key_dim=4, k_kv=3, kv_stride=2, residual=True),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind)
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_any_block(row: Block, padding: Padding) -> None:
    torch.manual_seed(0)
    block = lively_(BLOCKS[row.kind](row, Style(padding=padding, reparam=2)))
    x = torch.randn(2, 6, 11, 12)
    assert any(isinstance(m, BranchedConvNormAct) for m in block.modules())
    with torch.inference_mode():
        expected = block(x)
        fold_branches_(block)
        assert not any(isinstance(m, BranchedConvNormAct) for m in block.modules())
        assert_same(block(x), expected)


def test_what_has_no_batch_norm_has_no_branches() -> None:
    row = Block(kind="separable", c_in=6, c_mid=6, c_out=10, k_mid=3, folded=("depthwise",))
    block = BLOCKS["separable"](row, Style(reparam=2))
    assert isinstance(block.depthwise, ConvNormAct)
    assert isinstance(block.pointwise, BranchedConvNormAct)
    for norm in (None, Norm(kind="none")):
        with pytest.raises(UserError, match="needs BatchNorm in each"):
            BranchedConvNormAct(3, 3, 3, norm=norm)
    with pytest.raises(UserError, match="branches 0 is out of range"):
        BranchedConvNormAct(3, 3, 3, norm=Norm(), branches=0)
