"""What hooks count on the real module equals `arch.cost`, layer by layer, over a grid of settings."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mobilenets.arch.adapt import folded
from mobilenets.arch.cost import Cost, cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec
from mobilenets.nn.blocks import MobileMQA
from mobilenets.nn.network import Network

WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4)
GRID: tuple[dict[str, Any], ...] = (
    {"profile": "default", "resolution": 33},
    {"profile": "authors", "resolution": 47},
    {"profile": "default", "resolution": 49, "output_stride": 16, "in_channels": 1},
    {"profile": "authors", "resolution": 65, "output_stride": 8, "classes": 7},
    {"profile": "default", "resolution": 32, "total_stride": 8, "classes": 10, "background": True},
    {"profile": "authors", "resolution": 45, "total_stride": 16, "in_channels": 4, "classes": 0},
    {"profile": "authors", "resolution": 51},
)
HEAVY = ("mobilenet_v1_full_conv", "mobilenet_v4_conv_large", "mobilenet_v4_hybrid_large")


def build_without_initialising(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network whose weights are whatever memory holds: counting needs shapes alone."""
    monkeypatch.setattr("mobilenets.nn.network.initialise_", lambda module, how: None)
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda self: None)
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)
    return Network(spec).eval()


def hooked(network: Network, images: Tensor) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shape of every module by name, and multiply-adds of every convolution and linear layer by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    macs: dict[str, int] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert name not in shapes, f"{name} ran twice"
            shapes[name] = tuple(output.shape[1:])
            if isinstance(module, nn.Conv2d):
                per_value = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                macs[name] = output[0].numel() * per_value
            elif isinstance(module, nn.Linear):
                macs[name] = output[0].numel() * module.in_features

        return hook

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(watch(name))
    with torch.inference_mode():
        network(images)
    return shapes, macs


def assert_hooks_agree(spec: Spec, network: Network, whole: Cost) -> None:
    """Names, shapes, multiply-adds and parameters of every layer; nothing in the module is left uncounted."""
    images = torch.zeros(1, spec.in_channels, spec.resolution, spec.resolution)
    shapes, macs = hooked(network, images)
    counted_parameters: set[int] = set()
    for layer in whole.layers:
        if layer.kind in ("pool", "add", "attention") or layer.name.endswith("se.scale"):
            assert layer.macs == layer.params == 0
            continue
        module = network.get_submodule(layer.name)
        out = shapes[layer.name]
        assert layer.out == (*out, 1, 1)[:3], layer.name
        inner = [name for name in macs if name == layer.name or name.startswith(layer.name + ".")]
        assert layer.macs == sum(macs.pop(name) for name in inner), layer.name
        assert layer.params == sum(p.numel() for p in module.parameters()), layer.name
        counted_parameters.update(id(p) for p in module.parameters())
        buffers = sum(b.numel() for b in module.buffers() if b.is_floating_point())
        assert layer.bytes_float32 == 4 * (layer.params + buffers), layer.name
    assert not macs, "layers that cost does not list"
    assert counted_parameters == {id(p) for p in network.parameters()}
    assert whole.params == sum(p.numel() for p in network.parameters())
    assert whole.buffers == sum(b.numel() for b in network.buffers() if b.is_floating_point())


def cases() -> list[Any]:
    """Every architecture at every width, each with another setting of the grid; the heaviest are slow."""
    found = []
    for (row, name), (column, width) in itertools.product(enumerate(ARCHITECTURES), enumerate(WIDTHS)):
        settings = GRID[(row + column) % len(GRID)]
        marks = [pytest.mark.slow] if name in HEAVY and width > 0.5 else []
        found.append(pytest.param(name, width, settings, marks=marks, id=f"{name}-{width}-{settings['resolution']}"))
    return found


@pytest.mark.parametrize(("name", "width", "settings"), cases())
def test_hooks_count_what_cost_says(
    name: str, width: float, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = create_spec(name, width=width, **settings)
    assert_hooks_agree(spec, build_without_initialising(spec, monkeypatch), cost(spec))


@pytest.mark.slow
@pytest.mark.parametrize("settings", GRID, ids=lambda settings: str(settings["resolution"]))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hooks_count_what_cost_says_everywhere(
    name: str, width: float, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = create_spec(name, width=width, **settings)
    assert_hooks_agree(spec, build_without_initialising(spec, monkeypatch), cost(spec))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_v1", {"channels_per_input": 3}),
        ("mobilenet_v2", {"layer_multiplier": 1.4, "fixed_stem_and_head": True, "width": 0.5}),
        ("mobilenet_v3_small", {"se_divisor": 1, "fixed_stem": True, "width": 0.35}),
        ("mobilenet_v3_large", {"width": 0.35, "output_stride": 8}),
    ],
)
def test_hooks_with_each_generations_own_settings(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = create_spec(name, resolution=57, **settings)
    assert_hooks_agree(spec, build_without_initialising(spec, monkeypatch), cost(spec))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small", "mobilenet_v4_hybrid_medium"])
def test_hooks_on_a_folded_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = folded(create_spec(name, width=0.5, resolution=43))
    network = build_without_initialising(spec, monkeypatch)
    assert_hooks_agree(spec, network, cost(spec))
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    attentions = [name for name, module in network.named_modules() if isinstance(module, MobileMQA)]
    assert norms == [f"{name}.norm" for name in attentions]
    biasless = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    assert all(name.rsplit(".", 1)[0] in attentions for name in biasless)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_torchs_own_flop_counter_agrees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operations per multiply-add, attention's two matrix products included."""
    spec = create_spec(name, width=0.35, resolution=61)
    network = build_without_initialising(spec, monkeypatch)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 61, 61))
    whole = cost(spec)
    assert counter.get_total_flops() == 2 * (whole.macs + whole.macs_attention)
    assert bool(whole.macs_attention) == ("hybrid" in name)


def test_oblong_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = create_spec("mobilenet_v4_hybrid_medium", width=0.25, profile="authors")
    network = build_without_initialising(spec, monkeypatch)
    shapes, macs = hooked(network, torch.zeros(1, 3, 39, 86))
    whole = cost(spec, size=(39, 86))
    assert whole.macs == sum(macs.values())
    assert all(shapes[op.name] == op.shape for op in whole.ops if op.kind in ("conv", "depthwise"))
