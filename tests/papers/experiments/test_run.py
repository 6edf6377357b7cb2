"""An experiment from end to end: trained, interrupted, gone on with, and printed again without training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.papers.experiments import run as running
from mobilenets.papers.experiments.pool import Done, Job, run_jobs
from mobilenets.papers.experiments.rows import read_rows
from mobilenets.papers.experiments.run import run_experiment
from mobilenets.training.run import open_run, read_json


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 noisy pictures, one redder than the other: a few steps learn some of it."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, redness in (("plain", 0), ("red", 40)):
        (root / name).mkdir()
        for number in range(40):
            picture = rng.integers(0, 160, (24, 24, 3)) + np.array([0, 0, redness])
            cv2.imwrite(str(root / name / f"{number:02d}.png"), picture.astype(np.uint8))
    return root


def interrupted_after(count: int) -> Any:
    """`run_jobs` with Ctrl-C once `count` jobs are done."""

    def run(jobs: Sequence[Job], workers: int) -> Iterator[Done]:
        inner = run_jobs(jobs, workers)
        for _ in range(count):
            yield next(inner)
        inner.close()  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    return run


@pytest.mark.slow
def test_an_experiment_goes_on_where_it_was_and_is_not_trained_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def go(seeds: int) -> dict[str, Any]:
        return run_experiment("v1.table4", data, out, seeds=seeds, epochs=1, resolution=16, width=0.125, workers=2)

    with monkeypatch.context() as patched:
        patched.setattr(running, "run_jobs", interrupted_after(1))
        with pytest.raises(KeyboardInterrupt):
            go(1)
    (kept,) = read_rows(out)
    first = go(1)
    assert read_rows(out)[0] == kept
    assert {row["cell"] for row in read_rows(out)} == {"full_conv", "separable"}
    for row in read_rows(out):
        scored = read_json(out / row["run"] / "evaluation.json")
        assert row["top1"] == scored["top1"], "the answers on single images are those of the training's own score"
        assert row["macs"] > 0
        assert open_run(out / row["run"]).network().spec.resolution == 16
    with monkeypatch.context() as patched:
        patched.setattr(running, "run_jobs", lambda jobs, workers: pytest.fail("trained again") if jobs else iter(()))
        assert go(1) == first
    more = go(2)
    assert [(row["cell"], row["seed"]) for row in more["trainings"]] == [
        ("full_conv", 0),
        ("full_conv", 1),
        ("separable", 0),
        ("separable", 1),
    ]
    assert more["trainings"][0] == first["trainings"][0]
    assert more["seeds"] == [0, 1]
    json.dumps(more, allow_nan=False)


@pytest.mark.slow
def test_the_time_allowed_sets_the_passes(data: Path, tmp_path: Path) -> None:
    found = run_experiment("v1.table5", data, tmp_path / "out", seeds=1, seconds=8, resolution=16, width=0.25)
    plan = read_json(tmp_path / "out" / "experiment.json")
    assert set(plan["measured"]) == {"thin", "shallow"}
    assert found["epochs"] == plan["epochs"] >= 1
    assert {training["epochs"] for training in found["trainings"]} == {plan["epochs"]}
