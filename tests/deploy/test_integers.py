"""One table for all runtimes: the very integers stand in the file of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from mobilenets.compress.files import TABLE
from mobilenets.compress.table import load_table
from mobilenets.deploy.export import export
from mobilenets.deploy.quantize import quantize


@pytest.fixture(scope="module")
def quantised(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantised") / "int8"
    quantize(run, folder)
    return folder


def planes_last(weight: Tensor) -> bytes:
    """(O, I, H, W) as (O, H, W, I); depthwise, (C, 1, H, W), as (1, H, W, C)."""
    if weight.ndim == 4 and weight.shape[1] == 1:
        return weight.permute(1, 2, 3, 0).contiguous().numpy().tobytes()
    return (weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight).contiguous().numpy().tobytes()


def planes_first_unsigned(weight: Tensor) -> bytes:
    return (weight.numpy().astype(np.int16) + 128).astype(np.uint8).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "suffix", "stored"),
    [
        ("onnx", ".onnx", planes_first_unsigned),
        ("litert", ".tflite", planes_last),
        ("executorch", ".pte", planes_last),
    ],
)
def test_every_weight_of_the_table_is_in_the_file(
    quantised: Path, tmp_path: Path, runtime: str, suffix: str, stored: Callable[[Tensor], bytes]
) -> None:
    (row,) = export(quantised, tmp_path / "bundle", [runtime], ["int8"])["files"]
    data = (tmp_path / "bundle" / row["path"]).read_bytes()
    assert row["path"].endswith(suffix)
    weights = {name: tensor for name, tensor in load_table(quantised / TABLE).tensors.items() if tensor.ndim > 1}
    assert len(weights) > 10
    absent = [name for name, weight in weights.items() if stored(weight) not in data]
    assert absent == []
    changed = next(iter(weights.values())).clone()
    changed.view(-1)[0] += 1
    assert stored(changed) not in data  # what is looked for is long enough to be found by no accident


@pytest.mark.slow
def test_openvino_has_them_too_or_coarser(quantised: Path, tmp_path: Path) -> None:
    (row,) = export(quantised, tmp_path / "bundle", ["openvino"], ["int8"])["files"]
    data = (tmp_path / "bundle" / row["path"]).with_suffix(".bin").read_bytes()
    weights = [tensor for tensor in load_table(quantised / TABLE).tensors.values() if tensor.ndim > 1]
    same = [weight.numpy().tobytes() in data for weight in weights]
    depthwise = [weight.ndim == 4 and weight.shape[1] == 1 for weight in weights]
    assert all(found for found, alone in zip(same, depthwise) if alone)  # no neighbours, nothing to overflow
