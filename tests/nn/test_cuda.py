"""The same contract on a CUDA device: values, layouts, mixed precision, compilation. Skipped where there is none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.nn.network import Network, build_network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(autouse=True)
def _exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def small(name: str) -> Network:
    torch.manual_seed(0)
    return build_network(create_spec(name, width=0.25, resolution=64, classes=7))


def images() -> Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found.float().cpu() - expected).norm() <= tolerance * expected.norm())


@every_architecture
def test_values_equal_the_cpus_and_training_runs(name: str) -> None:
    network = small(name).eval()
    on_device = copy.deepcopy(network).cuda()
    with torch.inference_mode():
        assert close(on_device(images().cuda()), network(images()), 1e-3)
    on_device.train()(images().cuda()).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in on_device.parameters())


@every_architecture
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_channels_last_under_autocast(name: str, dtype: torch.dtype) -> None:
    network = small(name).eval()
    on_device = copy.deepcopy(network).cuda().to(memory_format=torch.channels_last)
    batch = images().cuda().to(memory_format=torch.channels_last)
    expected = network.features(images(), ["c2"])["c2"].detach()
    with torch.autocast("cuda", dtype=dtype):
        found = on_device.features(batch, ["c2"])["c2"].detach()
        logits = on_device(batch)
    assert close(found, expected, 0.03)
    assert logits.dtype == dtype
    assert logits.isfinite().all()
    if dtype == torch.float16:  # its gradients need a loss scale, which is the training loop's
        return
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in on_device.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v4_hybrid_medium"])
def test_compiled_equals_eager(name: str) -> None:
    network = small(name).cuda().eval()
    compiled = torch.compile(network, fullgraph=True)
    with torch.inference_mode():
        assert close(compiled(images().cuda()), network(images().cuda()).cpu(), 1e-3)


def test_reset_head_stays_on_the_device() -> None:
    network = small("mobilenet_v2").cuda().eval()
    network.reset_head(3)
    with torch.inference_mode():
        assert network(images().cuda()).shape == (4, 3)
