"""The layers against slow references: TensorFlow's padding rule, folding, layer scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mobilenets.arch.graph import padded_size
from mobilenets.arch.spec import Norm, Padding
from mobilenets.nn.layers import ConvNormAct, LayerScale, PaddedConv2d, activation, gate, same_padding


def loop_same_conv(image: np.ndarray, kernel: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """TensorFlow's SAME in plain loops: output o reads input o * stride - before + tap * dilation, zero outside.

    `before` is half of what the last output needs beyond the input, rounded down (tf.nn documentation, "SAME").
    """
    size, taps = len(image), len(kernel)
    out = math.ceil(size / stride)
    needed = max((out - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    before = needed // 2
    result = np.zeros((out, out))
    for row in range(out):
        for column in range(out):
            for y in range(taps):
                for x in range(taps):
                    i, j = row * stride - before + y * dilation, column * stride - before + x * dilation
                    if 0 <= i < size and 0 <= j < size:
                        result[row, column] += image[i, j] * kernel[y, x]
    return result


@pytest.mark.parametrize("size", [7, 8, 13, 16])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 4)])
def test_same_padding_equals_tensorflows(size: int, kernel: int, stride: int, dilation: int) -> None:
    random = np.random.default_rng(size * kernel * stride)
    image, weights = random.normal(size=(size, size)), random.normal(size=(kernel, kernel))
    layer = PaddedConv2d(1, 1, kernel, stride=stride, dilation=dilation, padding="same").double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights)[None, None])
        found = layer(torch.from_numpy(image)[None, None])[0, 0].numpy()
    expected = loop_same_conv(image, weights, stride, dilation)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_same_padding_at_stride_2_depends_on_the_input_size() -> None:
    assert same_padding(torch.Size([224, 224]), 3, 2, 1) == (0, 1, 0, 1)
    assert same_padding(torch.Size([225, 224]), 3, 2, 1) == (0, 1, 1, 1)
    assert same_padding(torch.Size([225, 225]), 5, 2, 1) == (2, 2, 2, 2)
    assert same_padding(torch.Size([4, 4]), 1, 2, 1) == (0, 0, 0, 0)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("pad", [None, (0, 1, 0, 1), (2, 0, 1, 3)])
@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_output_sizes_are_the_graphs(
    padding: Padding, pad: tuple[int, int, int, int] | None, kernel: int, stride: int
) -> None:
    layer = PaddedConv2d(2, 3, kernel, stride=stride, padding=padding, pad=pad)
    for height, width in ((9, 12), (16, 7)):
        out = layer(torch.zeros(1, 2, height, width)).shape[2:]
        assert out[0] == padded_size(height, kernel, stride, 1, padding, pad[2:] if pad else None)
        assert out[1] == padded_size(width, kernel, stride, 1, padding, pad[:2] if pad else None)


def test_explicit_padding_is_left_right_top_bottom() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    layer = PaddedConv2d(1, 1, 3, stride=2, pad=(0, 1, 0, 1))
    expected = F.conv2d(F.pad(image, (0, 1, 0, 1)), layer.weight, stride=2)
    assert torch.equal(layer(image), expected)


@pytest.mark.parametrize(("pad", "inside"), [((2, 2, 1, 1), True), ((0, 0, 0, 0), True), ((0, 1, 0, 1), False)])
def test_explicit_padding_equal_on_opposite_sides_is_the_convolutions_own(
    pad: tuple[int, int, int, int], inside: bool
) -> None:
    layer = PaddedConv2d(3, 4, 3, pad=pad)
    assert layer.outer is not inside
    assert layer.padding == ((pad[2], pad[0]) if inside else (0, 0))
    x = torch.randn(2, 3, 7, 8)
    assert layer.padding_of(x) == pad
    assert torch.allclose(layer(x), F.conv2d(F.pad(x, pad), layer.weight), atol=1e-6)


def test_conv_norm_act_uses_the_norms_constants_or_a_bias() -> None:
    layer = ConvNormAct(3, 8, 3, norm=Norm(eps=1e-6, momentum=0.05), act="relu6")
    assert isinstance(layer.norm, torch.nn.BatchNorm2d)
    assert (layer.norm.eps, layer.norm.momentum) == (1e-6, 0.05)
    assert layer.conv.bias is None
    for norm in (None, Norm(kind="none")):
        bare = ConvNormAct(3, 8, 3, norm=norm)
        assert isinstance(bare.norm, torch.nn.Identity)
        assert bare.conv.bias is not None


def test_batch_norm_momentum_is_one_minus_tensorflows_decay() -> None:
    layer = ConvNormAct(1, 1, 1, norm=Norm(momentum=3e-3))
    torch.nn.init.ones_(layer.conv.weight)
    layer(torch.full((4, 1, 2, 2), 5.0))
    assert isinstance(layer.norm, torch.nn.BatchNorm2d)
    assert layer.norm.running_mean is not None
    assert layer.norm.running_mean.item() == pytest.approx(0.997 * 0 + 0.003 * 5)


def test_activations_and_gates_at_their_corners() -> None:
    x = torch.tensor([-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 7.0])

    def of(name: str) -> list[float]:
        return [round(value, 4) for value in activation(name)(x.clone()).tolist()]  # type: ignore[arg-type]

    assert of("relu") == [0, 0, 0, 0, 1, 3, 7]
    assert of("relu6") == [0, 0, 0, 0, 1, 3, 6]
    assert of("leaky_relu") == [-0.04, -0.03, -0.01, 0, 1, 3, 7]
    assert of("hard_swish") == [0, 0, round(-2 / 6, 4), 0, round(4 / 6, 4), 3, 7]  # x * relu6(x + 3) / 6
    assert of("identity") == x.tolist()
    assert of("gelu")[2] == round(-0.5 * (1 + math.erf(-1 / math.sqrt(2))), 4)
    hard = gate("hard_sigmoid")(x.clone())
    assert torch.allclose(hard, F.relu6(x + 3) / 6)
    assert torch.allclose(gate("sigmoid")(x), torch.sigmoid(x))


def test_layer_scale_scales_each_channel() -> None:
    layer = LayerScale(3, 1e-5)
    assert torch.equal(layer.gamma, torch.full((3,), 1e-5))
    with torch.no_grad():
        layer.gamma.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.ones(2, 3, 4, 5)
    assert torch.equal(layer(x)[1, :, 0, 0], torch.tensor([1.0, 2.0, 3.0]))
