"""One table for all runtimes: the very integers stand in the file of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
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


def planes_first(weight: Tensor) -> bytes:
    return weight.contiguous().numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "suffix", "stored"),
    [
        ("onnx", ".onnx", planes_first),
        ("openvino", ".xml", planes_first),
        ("litert", ".tflite", planes_last),
        ("executorch", ".pte", planes_last),
    ],
)
def test_every_weight_of_the_table_is_in_the_file(
    quantised: Path, tmp_path: Path, runtime: str, suffix: str, stored: Callable[[Tensor], bytes]
) -> None:
    (row,) = export(quantised, tmp_path / "bundle", [runtime], ["int8"])["files"]
    file = tmp_path / "bundle" / row["path"]
    assert row["path"].endswith(suffix)
    data = file.with_suffix(".bin" if suffix == ".xml" else suffix).read_bytes()
    weights = {name: tensor for name, tensor in load_table(quantised / TABLE).tensors.items() if tensor.ndim > 1}
    assert len(weights) > 10
    absent = [name for name, weight in weights.items() if stored(weight) not in data]
    assert absent == []
    changed = next(iter(weights.values())).clone()
    changed.view(-1)[0] += 1
    assert stored(changed) not in data  # what is looked for is long enough to be found by no accident


def test_no_two_neighbours_overflow_16_bits(quantised: Path) -> None:
    """Their products with uint8 fit, whatever the activations are: x86 without VNNI adds them up so."""
    weights = [value.int() for value in load_table(quantised / TABLE).tensors.values() if value.dtype == torch.int8]
    assert len(weights) > 10
    for weight in weights:
        if weight.shape[1] > 1 and weight[0, 0].numel() > 1:
            assert 2 * 255 * int(weight.abs().max()) <= 2**15 - 1
        one, other = weight[:, 0::2], weight[:, 1::2]
        pairs = one[:, : other.shape[1]]
        for sign in (1, -1):
            assert (255 * ((sign * pairs).clamp_min(0) + (sign * other).clamp_min(0)) <= 2**15 - 1).all()
