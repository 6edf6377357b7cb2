"""The latency of networks: what the model is fitted to, what it predicts, and the files that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.compress.channels import groups
from mobilenets.deploy.latency import stopwatch
from mobilenets.deploy.latency.features import KINDS, features
from mobilenets.deploy.latency.model import fit
from mobilenets.deploy.latency.profile import QUICK, designed, measured_latency
from mobilenets.deploy.latency.stopwatch import Stopwatch
from mobilenets.deploy.latency.variants import Variants
from mobilenets.deploy.runtimes import runtime
from mobilenets.nn.network import Network, build_network


def network(name: str = "mobilenet_v2", size: int = 64) -> Network:
    torch.manual_seed(0)
    return build_network(create_spec(name, width=0.35, resolution=size, classes=4)).eval()


def test_features_count_the_network() -> None:
    found = features(create_spec("mobilenet_v1"))
    table = found[:-1].reshape(len(KINDS), 3)
    assert found[-1] == 1
    assert table[KINDS.index("pointwise"), 0] == pytest.approx(539.5, rel=0.01)  # of 569 M, V1's table 2: 94.86 %
    assert table[KINDS.index("depthwise"), 2] == 13
    assert table[KINDS.index("conv"), 2] == 1
    assert table[KINDS.index("conv"), 1] == pytest.approx((3 * 224**2 + 32 * 112**2 + 864) / 1e6)


def test_the_fit_finds_what_times_were_made_of() -> None:
    """Times that are a sum of known parts, with noise: left-out networks are predicted within the noise."""
    rng = np.random.default_rng(0)
    specs = list(designed(create_spec("mobilenet_v2"), 60, 8))
    parts = rng.uniform(0, 0.01, len(features(specs[0])))
    exact = np.array([features(spec) @ parts for spec in specs])
    model = fit(specs[:40], (exact * rng.normal(1, 0.02, len(specs)))[:40])
    assert (model.weights >= 0).all()
    assert model.error < 0.04
    errors = [abs(model(spec) / ms - 1) for spec, ms in zip(specs[40:], exact[40:])]
    assert np.median(errors) < 0.03
    assert model.measured == 40


def test_the_design_is_of_networks_that_pruning_makes() -> None:
    base = create_spec("mobilenet_v3_small")
    specs = list(designed(base, 30, 8))
    assert len(set(specs)) > 25
    assert specs == list(designed(base, 30, 8))
    widest = {group.name: group.channels for group in groups(base)}
    for spec in specs:
        for group in groups(spec):
            assert group.channels <= widest[group.name]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("onnx", "mobilenet_v3_small"),
        pytest.param("onnx", "mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("onnx", "mobilenet_v1", marks=pytest.mark.slow),
        pytest.param("openvino", "mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("openvino", "mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_a_file_with_smaller_tensors_is_the_smaller_network(name: str, model: str, tmp_path: Path) -> None:
    """It computes, to float32, what an export of the network with those tensors does."""
    whole = network(model)
    variants = Variants(runtime(name), whole, tmp_path)
    spec = list(designed(whole.spec, 4, 8))[3]
    assert spec != whole.spec
    path = variants.write(spec)
    images = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    found = runtime(name).open(path, 1).run(images)
    assert found.shape == (1, 4)
    assert np.isfinite(found).all()
    exported = variants.export(build_network(spec).eval())
    if name == "onnx":
        ours, theirs = runtime(name).stored, runtime(name).stored
        assert ours is not None
        assert theirs is not None
        assert ours(path) == theirs(exported)  # as many numbers


def test_the_base_is_written_as_it_is(tmp_path: Path) -> None:
    whole = network()
    path = Variants(runtime("onnx"), whole, tmp_path).write(whole.spec)
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    found = runtime("onnx").open(path, 1).run(images)
    from mobilenets.deploy.wrap import Shipped

    with torch.no_grad():
        wanted = Shipped(whole)(torch.from_numpy(images)).numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


class Clock:
    """A clock that the runs of sessions move; the machine becomes slower all the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    process_time = perf_counter

    def sleep(self, seconds: float) -> None:
        """Time in which this process computes nothing."""

    def open(self, path: Path, threads: int) -> Any:
        clock, ms = self, float(path.name)

        class Session:
            def run(self, images: np.ndarray) -> np.ndarray:
                clock.now += ms / 1e3 * (1 + 0.2 * (clock.now - 100.0))
                return images

        return Session()


def test_a_machine_that_slows_down_slows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    watch = Stopwatch(clock, Path("4.0"), 32)  # type: ignore[arg-type]
    assert watch.base_ms == pytest.approx(4.0, rel=0.15)
    clock.now = 105.0  # by now all takes twice as long
    assert watch.measure(Path("3.0")) / watch.base_ms == pytest.approx(3.0 / 4.0, rel=0.02)


@pytest.mark.slow
def test_measured_latency_of_a_runtime() -> None:
    whole = network(size=96)
    with measured_latency(runtime("onnx"), whole, 1, 8) as latency:
        assert len(latency.rows) == QUICK + 1
        assert latency.rows[0]["channels"]["blocks.2.expand"] == groups(whole.spec)[0].channels
        assert latency.predict(whole.spec) > 0
        assert latency.measure(whole.spec) == latency.stopwatch.base_ms
        assert latency.measure_network(whole) > 0
