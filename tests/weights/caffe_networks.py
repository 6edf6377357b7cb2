"""Networks that the tests write as Caffe files."""

from __future__ import annotations

import numpy as np
import torch
from caffe_writer import Net


def images(size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, size, size)).astype(np.float32))


def v1(**options: bool) -> Net:
    """shicai's V1: in place, ReLU, depthwise as grouped Convolution."""
    net = Net(images(), **options)
    x = net.act("relu1", net.norm("conv1/bn", net.conv("conv1", "data", 8, 3, 2), eps=None))
    for index, (out, stride) in enumerate(((16, 1), (24, 2), (24, 1)), 2):
        wide = net.values[x].shape[1]
        x = net.conv(f"conv{index}/dw", x, wide, 3, stride, wide)
        x = net.act(f"relu{index}/dw", net.norm(f"conv{index}/dw/bn", x))
        x = net.act(f"relu{index}/sep", net.norm(f"conv{index}/sep/bn", net.conv(f"conv{index}/sep", x, out)))
    net.classify(x, 7)
    return net


def v2() -> Net:
    """shicai's V2: BatchNorm to a blob of its own, an Eltwise without settings as the residual."""
    net = Net(images())
    x = net.act("relu1", net.norm("conv1/bn", net.conv("conv1", "data", 8, 3, 2), top="conv1/bn"))
    for index, (out, stride) in enumerate(((12, 2), (12, 1), (16, 1)), 2):
        start, name = x, f"conv{index}"
        mid = net.values[x].shape[1] * 6
        x = net.act(f"relu{index}/a", net.norm(f"{name}/a/bn", net.conv(f"{name}/a", x, mid), top=f"{name}/a/bn"))
        x = net.conv(f"{name}/dw", x, mid, 3, stride, mid)
        x = net.act(f"relu{index}/dw", net.norm(f"{name}/dw/bn", x, top=f"{name}/dw/bn"))
        x = net.norm(f"{name}/lin/bn", net.conv(f"{name}/lin", x, out), top=f"{name}/lin/bn")
        if net.values[start].shape == net.values[x].shape:
            x = net.add(f"block{index}", start, x)
    net.classify(x, 7)
    return net


def v3(depthwise: str = "DepthwiseConvolution") -> Net:
    """V3 with the spelling of jixing0415/caffe-mobilenet-v3: hard forms of Power, ReLU6, Eltwise; Scale as the gate."""
    net = Net(images())
    x = net.hard(net.norm("conv1-bn", net.conv("conv1", "data", 8, 3, 2)))
    for index, (k, out, stride, swish) in enumerate(((3, 8, 2, False), (5, 8, 1, True)), 2):
        start, name = x, f"conv{index}"
        wide = 24
        x = net.norm(f"{name}/expand-bn", net.conv(f"{name}/expand", x, wide))
        x = net.hard(x) if swish else net.act(f"{name}/relu", x, "ReLU6")
        x = net.norm(f"{name}/dw-bn", net.conv(f"{name}/dw", x, wide, k, stride, wide, kind=depthwise))
        x = net.hard(net.squeeze(x, 6)) if swish else net.act(f"{name}/dw-relu", net.squeeze(x, 6), "ReLU6")
        x = net.norm(f"{name}/lin-bn", net.conv(f"{name}/lin", x, out))
        if stride == 1:
            x = net.add(f"block{index}", start, x)
    net.classify(x, 7)
    return net


NETS = {
    "v1": v1,
    "v1-legacy-shapes": lambda: v1(legacy=True),
    "v1-double": lambda: v1(double=True),
    "v2": v2,
    "v3": v3,
}
