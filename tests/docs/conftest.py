"""A folder with everything that the pages' examples name: photos, a Run, published files, a Hub with one network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hub_server import Places, places

__all__ = ["places"]
ON_HUB = "mobilenet_v2.timm_ra_in1k"  # the catalogue's name that the pages use
PUBLISHED = {
    "mobilenet_v2.tflite": "tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite",
    "mobilenet_v2_1.0_224_quant.tflite": "tflite/mobilenet_v2_1.0_224_quant/mobilenet_v2_1.0_224_quant.tflite",
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rendered hands of 32 pixels in train/, val/ and test/; 120 of them are test images."""
    from mobilenets.data import hands

    return hands.prepare(images=600, size=32, out=tmp_path_factory.mktemp("photos") / "hands", workers=1)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of an example, empty."""
    folder = tmp_path / "workshop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENETS_KERNELS", "0")  # compiling them takes longer than these trainings
    return folder


@pytest.fixture
def with_photos(workshop: Path, photos: Path) -> Path:
    """`photos` and `my_images` in the workshop."""
    for name in ("photos", "my_images"):
        (workshop / name).symlink_to(photos)
    return workshop


@pytest.fixture
def trained(with_photos: Path) -> Path:
    """`run` and `teacher` in the workshop, both the same shallow V1 after one epoch."""
    from mobilenets.api import train

    train("photos", model="mobilenet_v1_shallow", width=0.25, resolution=32, epochs=1, out="run", threads=1)
    (with_photos / "teacher").symlink_to(with_photos / "run")
    return with_photos / "run"


@pytest.fixture
def published(workshop: Path, shared: Path) -> Path:
    """The published TFLite file of V2 in the workshop, under the names that the pages use."""
    for name, path in PUBLISHED.items():
        os.symlink(shared / "weights" / path, workshop / name)
    return workshop


@pytest.fixture
def on_hub(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of the catalogue whose file a Hub on this machine serves: timm's tensors, random numbers."""
    from mobilenets.api import create_model
    from mobilenets.weights.catalog import find
    from mobilenets.weights.timm import to_timm

    entry = find(ON_HUB)
    network = create_model(entry.architecture)
    path = tmp_path / "model.safetensors"
    to_timm(network.spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, path)
    places.put_repository(entry.repo, path.read_bytes())
    return ON_HUB
