"""A name of the catalogue is accepted wherever a network is: fetched from a local server, read, proved, run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub_server import Places, places  # noqa: F401 - the fixture
from mobilenets.arch.registry import create_spec
from mobilenets.deploy.load import load
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.weights.catalog import find
from mobilenets.weights.convert import convert
from mobilenets.weights.proof import pictures
from mobilenets.weights.timm import to_timm

NAME = "mobilenet_v3_small_050.timm_lamb_in1k"


@pytest.fixture
def published(places: Places, tmp_path: Path) -> dict[str, np.ndarray]:  # noqa: F811
    """timm's repository with a network of ours in it; returns our state."""
    entry = find(NAME)
    spec = create_spec(entry.architecture, **entry.settings)
    state = {name: tensor.numpy() for name, tensor in build_network(spec).state_dict().items()}
    to_timm(spec, state, tmp_path / "theirs.safetensors")
    places.put_repository(entry.repo, (tmp_path / "theirs.safetensors").read_bytes())
    return state


def test_a_catalogue_name_is_a_network(published: dict[str, np.ndarray], tmp_path: Path) -> None:
    loaded = load("mobilenetv3_small_050.lamb_in1k")
    assert loaded.kind == "weights"
    assert loaded.spec.name == "mobilenet_v3_small_050"
    assert loaded.labels[0]["wnid"] == "n01440764"
    for name, tensor in loaded.network.state_dict().items():
        assert np.array_equal(tensor.numpy(), published[name]), name
    result = convert([NAME], tmp_path / "run")
    assert result["ok"]
    images = pictures(loaded.spec.resolution)
    assert np.abs(load(tmp_path / "run").logits(images) - loaded.logits(images)).max() < 1e-5


def test_a_name_that_is_none_is_one_line_with_near_misses() -> None:
    for ask in (load, lambda name: convert([name], "run")):
        with pytest.raises(UserError, match=r"no such file or folder, and unknown published weights .*lamb_in1k"):
            ask("mobilenetv3_small_050.lamp_in1k")
