"""How the tests of the command line run it as a person does, and what they feed it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def shell(*args: object, timeout: float = 120, env: dict[str, str] | None = None, **options: Any) -> Ended:
    """Runs `python -m mobilenets ARGS` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "mobilenets", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | (env or {}),
        check=False,
        **options,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def assert_user_error(ended: Ended, *words: str) -> None:
    """Status 2, one line on stderr that has every one of `words`, nothing on stdout."""
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.status == 2, ended
    assert len(lines) == 1, ended
    assert "Traceback" not in ended.err
    assert ended.out == ""
    for word in words:
        assert word in lines[0], ended


def make_pictures(folder: Path, classes: dict[str, int], size: int = 40, seed: int = 0) -> Path:
    """Class folders of PNG files, one colour for each class with noise: two epochs learn them."""
    rng = np.random.default_rng(seed)
    for index, (name, images) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        hue = np.zeros(3)
        hue[index % 3] = 160
        for number in range(images):
            picture = hue + rng.integers(0, 90, (size, size, 3))
            cv2.imwrite(str(folder / name / f"{number:03d}.png"), picture.astype(np.uint8))
    return folder
