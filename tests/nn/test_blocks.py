"""Each block on its own: shapes, what it computes, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilenets.arch.spec import Block, Norm
from mobilenets.errors import UserError
from mobilenets.nn.blocks import (
    BLOCKS,
    Conv,
    DepthwiseSeparable,
    FusedInvertedBottleneck,
    InvertedResidual,
    MobileMQA,
    SqueezeExcite,
    Style,
    UniversalInvertedBottleneck,
)

ROWS = {
    "conv": Block(kind="conv", c_in=6, c_mid=10, c_out=10, k_mid=3, act="relu6"),
    "separable": Block(kind="separable", c_in=6, c_mid=12, c_out=10, k_mid=3, c_se=4),
    "inverted": Block(kind="inverted", c_in=6, c_mid=18, c_out=10, k_mid=5, c_se=8, act="hard_swish", linear=True),
    "fused": Block(kind="fused", c_in=6, c_mid=24, c_out=10, k_mid=3, linear=True),
    "universal": Block(kind="universal", c_in=6, c_mid=24, c_out=10, k_start=3, k_mid=5, linear=True, layer_scale=0.5),
}


def at_random(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode with BatchNorm statistics that are not the identity."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return module.eval()


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_shapes(kind: str, stride: int, dilation: int, padding: str, size: tuple[int, int]) -> None:
    row = replace(ROWS[kind], stride=stride, dilation=dilation)
    module = BLOCKS[kind](row, Style(padding=padding))  # type: ignore[arg-type]
    out = module(torch.randn(2, 6, *size))
    assert out.shape == (2, 10, math.ceil(size[0] / stride), math.ceil(size[1] / stride))


@pytest.mark.parametrize("kind", ROWS)
def test_residual_adds_the_input_and_linear_leaves_the_last_activation_out(kind: str) -> None:
    row = replace(ROWS[kind], c_out=6, c_mid=6 if kind == "conv" else ROWS[kind].c_mid, linear=True)
    plain = at_random(BLOCKS[kind](row))
    residual = at_random(BLOCKS[kind](replace(row, residual=True)))
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 9, 9)
    with torch.inference_mode():
        y = plain(x)
        assert torch.allclose(residual(x), x + y, atol=1e-6)
        assert (y < 0).any()
        rectified = at_random(BLOCKS[kind](replace(row, linear=False, act="relu", layer_scale=0.0)))
        rectified.load_state_dict(plain.state_dict(), strict=False)
        assert (rectified(x) >= 0).all()


def test_separable_and_inverted_written_out() -> None:
    x = torch.randn(2, 6, 9, 9)

    def normed(part: nn.Module, y: Tensor) -> Tensor:
        norm: nn.BatchNorm2d = part.norm  # type: ignore[assignment]
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)

    style = Style(norm=Norm(eps=1e-3))
    row = replace(ROWS["inverted"], stride=2)
    block = at_random(InvertedResidual(row, style))
    assert isinstance(block, InvertedResidual)
    with torch.inference_mode():
        y = F.hardswish(normed(block.expand, F.conv2d(x, block.expand.conv.weight)))
        y = F.conv2d(y, block.depthwise.conv.weight, stride=2, padding=2, groups=18)
        y = F.hardswish(normed(block.depthwise, y))
        se = block.se
        assert isinstance(se, SqueezeExcite)
        squeezed = F.relu(F.conv2d(y.mean((2, 3), keepdim=True), se.reduce.weight, se.reduce.bias))
        y = y * F.hardsigmoid(F.conv2d(squeezed, se.expand.weight, se.expand.bias))
        y = normed(block.project, F.conv2d(y, block.project.conv.weight))
        assert torch.allclose(block(x), y, atol=1e-5)

    first = at_random(DepthwiseSeparable(replace(ROWS["separable"], c_se=0), style))
    assert isinstance(first, DepthwiseSeparable)
    with torch.inference_mode():
        y = F.relu(normed(first.depthwise, F.conv2d(x, first.depthwise.conv.weight, padding=1, groups=6)))
        y = F.relu(normed(first.pointwise, F.conv2d(y, first.pointwise.conv.weight)))
        assert torch.allclose(first(x), y, atol=1e-5)


@pytest.mark.parametrize(
    ("k_start", "k_mid"), [(5, 3), (0, 3), (5, 0), (0, 0)], ids=["ExtraDW", "IB", "ConvNext", "FFN"]
)
def test_the_four_forms_of_the_universal_block(k_start: int, k_mid: int) -> None:
    row = replace(ROWS["universal"], k_start=k_start, k_mid=k_mid)
    block = at_random(UniversalInvertedBottleneck(row))
    assert isinstance(block, UniversalInvertedBottleneck)
    depthwise = [m.conv.kernel_size[0] for m in (block.depthwise_start, block.depthwise_mid) if hasattr(m, "conv")]
    assert depthwise == [k for k in (k_start, k_mid) if k]
    x = torch.randn(1, 6, 9, 9)
    with torch.inference_mode():
        y = block.depthwise_mid(block.expand(block.depthwise_start(x)))
        assert torch.allclose(block(x), 0.5 * block.project(y), atol=1e-6)
    if k_start:
        assert isinstance(block.depthwise_start.act, nn.Identity)
    if k_mid:
        assert isinstance(block.depthwise_mid.act, nn.ReLU)
    if k_start or k_mid:
        strided = UniversalInvertedBottleneck(replace(row, stride=2))
        where = strided.depthwise_mid if k_mid else strided.depthwise_start
        assert where.conv.stride == (2, 2)  # type: ignore[union-attr]
        assert strided(x).shape == (1, 10, 5, 5)


@pytest.mark.parametrize("k_kv", [0, 3])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_attention_equals_loops(k_kv: int, padding: str) -> None:
    """softmax(q k / sqrt(dim)) v for each head and position; all heads read the same keys and values."""
    heads, dim, channels = 3, 4, 6
    row = Block(
        kind="attention", c_in=channels, c_mid=heads * dim, c_out=channels, heads=heads, key_dim=dim, residual=True,
        k_kv=k_kv, kv_stride=2 if k_kv else 1, layer_scale=0.5,
    )  # fmt: skip
    block = at_random(MobileMQA(row, Style(padding=padding)))  # type: ignore[arg-type]
    assert isinstance(block, MobileMQA)
    x = torch.randn(1, channels, 5, 4)
    with torch.inference_mode():
        y = block.norm(x)
        q = block.query(y)[0].reshape(heads, dim, 20)
        k = block.key(block.key_down(y))[0].reshape(dim, -1)
        v = block.value(block.value_down(y))[0].reshape(dim, -1)
        mixed = torch.zeros(heads * dim, 20)
        for head in range(heads):
            for position in range(20):
                scores = torch.stack([(q[head, :, position] * k[:, key]).sum() for key in range(k.shape[1])])
                shares = torch.softmax(scores / math.sqrt(dim), 0)
                mixed[head * dim : (head + 1) * dim, position] = (v * shares).sum(1)
        expected = x + 0.5 * block.output(mixed.reshape(1, heads * dim, 5, 4))
        assert torch.allclose(block(x), expected, atol=1e-5)
    assert k.shape[1] == (6 if k_kv else 20)


def test_squeeze_excite_is_within_its_input() -> None:
    block = SqueezeExcite(8, 4, act="relu6", gate_name="sigmoid")
    x = torch.rand(2, 8, 3, 3)
    out = block(x)
    assert ((out >= 0) & (out <= x)).all()
    assert isinstance(block.act, nn.ReLU6)
    assert isinstance(block.gate, nn.Sigmoid)


def test_two_filters_per_input_channel() -> None:
    block = DepthwiseSeparable(Block(kind="separable", c_in=4, c_mid=8, c_out=5, k_mid=3))
    assert block.depthwise.conv.weight.shape == (8, 1, 3, 3)
    assert block(torch.randn(1, 4, 6, 6)).shape == (1, 5, 6, 6)


def test_folded_parts_have_a_bias_and_the_others_a_normalisation() -> None:
    block = InvertedResidual(replace(ROWS["inverted"], folded=("project",)))
    assert isinstance(block.expand.norm, nn.BatchNorm2d)
    assert block.project.conv.bias is not None
    assert isinstance(block.project.norm, nn.Identity)


@pytest.mark.parametrize(
    "module",
    [Conv, DepthwiseSeparable, InvertedResidual, FusedInvertedBottleneck, UniversalInvertedBottleneck, MobileMQA],
)
def test_a_block_of_another_kind_or_without_sense_is_refused(module: type[nn.Module]) -> None:
    other = ROWS["conv" if module is not Conv else "fused"]
    with pytest.raises(UserError, match=f"^{module.__name__} cannot be of kind '{other.kind}'; allowed: "):
        module(other)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        module(ROWS["conv"], stile=Style())
    if module is not MobileMQA:
        own = replace(ROWS[module.kind], c_out=0)  # type: ignore[index]
        with pytest.raises(UserError, match=f"the {own.kind} block has a size, stride or dilation below 1"):
            module(own)
