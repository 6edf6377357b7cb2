"""Static quantisation: deterministic, exportable again with any batch, close to the float network."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.compress.static import quantise
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network


def shipped(name: str = "mobilenet_v1_025", size: int = 32) -> Shipped:
    torch.manual_seed(0)
    return Shipped(build_network(create_spec(name, resolution=size, classes=4)))


def pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_same_images_give_the_same_network() -> None:
    module = shipped()
    one, two = (quantise(module, pictures(40)).state_dict() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_weights_are_int8_per_channel_and_no_float_copy_is_left() -> None:
    state = quantise(shipped(), pictures(8)).state_dict()
    weights = [value for value in state.values() if value.ndim >= 2 and value.numel() > 3]
    assert {value.dtype for value in weights} == {torch.int8}
    assert min(int(value.min()) for value in weights) == -127
    sizes = {value.shape[0] for value in weights}
    assert sizes <= {value.shape[0] for name, value in state.items() if "scale" in name}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v4_hybrid_medium"])
def test_it_can_be_exported_again_with_one_image_or_any_number(name: str) -> None:
    network = quantise(shipped(name), pictures(8))
    images = torch.from_numpy(pictures(3))
    with torch.no_grad():
        expected = network(images)
        one = torch.export.export(network, (images[:1],)).module()
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        many = torch.export.export(network, (images[:2],), dynamic_shapes=shapes).module()
        largest = expected.abs().max()
        assert (one(images[:1]) - expected[:1]).abs().max() <= 0.05 * largest
        assert (many(images) - expected).abs().max() <= 0.05 * largest


def test_missing_torchao_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e.quantize_pt2e", None)
    with pytest.raises(UserError, match=r'is not installed; run: pip install "mobilenets\[int8\]"'):
        quantise(shipped(), pictures(8))
