"""The recorded networks of other libraries: their state dicts, made anew, and what the libraries computed with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mobilenets.errors import UserError
from mobilenets.weights.proof import network_of
from mobilenets.weights.recognised import Recognised


class Recorded(NamedTuple):
    """A state dict under the library's names, an input (N, C, H, W), and the library's logits for it, if recorded."""

    state: dict[str, np.ndarray]
    picture: np.ndarray
    logits: np.ndarray | None


@cache
def _generator(golden: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("deterministic_state", golden / "deterministic_state.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(shared: Path, name: str) -> Recorded:
    """The network `library/name` of the recorded ones."""
    golden = shared / "golden"
    made = _generator(golden)
    manifest = made.load_manifest(golden / f"{name}.json.gz")
    arrays = np.load(golden / f"{name}.npz")
    return Recorded(
        made.state(manifest), made.example_input(manifest), arrays["logits"] if "logits" in arrays.files else None
    )


def save(state: dict[str, np.ndarray], path: Path) -> Path:
    """The state dict as a file of the suffix's kind."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({name: torch.from_numpy(values) for name, values in state.items()}, path)
    return path


def refusal(read: Callable[..., Any], *args: Any) -> str:
    """The one line with which `read` refuses what it is given."""
    with pytest.raises(UserError) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def relative_error(found: Recognised, wanted: Recorded) -> float:
    """The largest difference from the recorded logits, in parts of the largest logit."""
    assert wanted.logits is not None
    with torch.inference_mode():
        got = network_of(found)(torch.from_numpy(wanted.picture)).numpy()
    assert got.shape == wanted.logits.shape
    return float(np.abs(got - wanted.logits).max() / np.abs(wanted.logits).max())


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors of these shapes; step counters count up, so that each is another one."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32)
        if not name.endswith("num_batches_tracked")
        else np.array(index, np.int64)
        for index, (name, shape) in enumerate(shapes.items())
    }
