"""Small image files, and a cache that is the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


def smooth_picture(seed: int, side: int = 48) -> np.ndarray:
    """A smooth colour picture that differs much from that of every other seed, uint8 (side, side, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def picture_of() -> Callable[..., np.ndarray]:
    """`picture_of(seed, side=48)`: a smooth picture, a different one for each seed."""
    return smooth_picture


@pytest.fixture(scope="session")
def png_of() -> Callable[..., bytes]:
    """`png_of(seed)`: that picture as the bytes of a PNG."""
    return lambda seed, side=48: cv2.imencode(".png", smooth_picture(seed, side)[..., ::-1])[1].tobytes()


@pytest.fixture
def write_images(png_of: Callable[..., bytes]) -> Callable[..., Path]:
    """`write_images(root, names)`: one different picture under each name; returns the root."""

    def write(root: Path, names: list[str], *, first_seed: int = 0) -> Path:
        for seed, name in enumerate(names, start=first_seed):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png_of(seed))
        return root

    return write


@pytest.fixture(scope="session")
def cache_of_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all tests of this layer."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_of_session: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder that the code under test uses: never the user's."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(cache_of_session))
    return cache_of_session
