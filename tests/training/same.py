"""What two Runs must share to be the same training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.training import checkpoint
from mobilenets.training.run import BEST, EVALUATION, LAST, METRICS

TIMES = ("seconds", "images_per_second")


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def metrics(run: Path) -> list[dict[str, Any]]:
    """The rows of a Run's metrics, without what the clock says."""
    return without_times([json.loads(line) for line in (run / METRICS).read_text().splitlines()])


def same_run(a: Path, b: Path) -> None:
    """Both Runs hold the same numbers and bit for bit the same weights."""
    assert metrics(a) == metrics(b)
    ours, theirs = (json.loads((run / EVALUATION).read_text()) for run in (a, b))
    ours.pop("network"), theirs.pop("network")
    assert ours == theirs
    for name in (BEST, LAST):
        one, two = checkpoint.load_tensors(a / name)[0], checkpoint.load_tensors(b / name)[0]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Makes that write of a checkpoint, counted from 1, leave half a file and fail as on a full disk."""
    original, count = checkpoint.save_file, 0

    def full(tensors: Any, path: Any, metadata: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        original(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
