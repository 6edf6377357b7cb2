"""A small trained Run and its Bundle, made once; tests that change one work on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

CLASSES = ("amber", "blue", "cyan")
COLOURS = ((250, 160, 20), (30, 60, 220), (40, 210, 200))


def write_colours(root: Path, counts: dict[str, int], sides: tuple[int, int] = (44, 56)) -> Path:
    """Class folders of noisy coloured pictures, `counts` pictures of each class in each split."""
    rng = np.random.default_rng(7)
    for split, count in counts.items():
        for name, colour in zip(CLASSES, COLOURS):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                picture = rng.normal(110, 45, (*sides, 3)) * rng.uniform(0.4, 1.2)
                x, y, size = rng.integers(2, 18), rng.integers(2, 18), rng.integers(14, 24)
                picture[y : y + size, x : x + size] = np.array(colour) * rng.uniform(0.5, 1.0)
                bgr = np.clip(picture, 0, 255).astype(np.uint8)[:, :, ::-1]
                cv2.imwrite(str(folder / f"{index:03d}.png"), bgr)
    return root


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 90 pictures and val/ with 120, three classes, 44 x 56 pixels."""
    return write_colours(tmp_path_factory.mktemp("colours"), {"train": 30, "val": 40})


@pytest.fixture(scope="session")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run that `train` left: a shallow V1 at 32 pixels that has learnt something."""
    from mobilenets.api import train

    folder = tmp_path_factory.mktemp("runs") / "run"
    train(
        colours,
        model="mobilenet_v1_shallow",
        width=0.25,
        resolution=32,
        epochs=10,
        batch_size=8,
        lr=0.004,
        out=folder,
        threads=1,
    )
    return folder


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Run's Bundle. Not to be changed."""
    from mobilenets.deploy.export import export

    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    export(run, folder)
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy of the Bundle that a test may change."""
    return shutil.copytree(exported, tmp_path / "bundle")
