"""How many passes fit into the time, and that a folder goes on only with what it was begun with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from mobilenets.errors import UserError
from mobilenets.papers.experiments import plan as planning
from mobilenets.papers.experiments.designs import make_design
from mobilenets.papers.experiments.plan import PLAN, Asked, kept_plan, make_plan
from mobilenets.papers.experiments.pool import Done, Job
from mobilenets.training.precision import choose_precision

ASKED = Asked("v1.fig4", "data", False, None, None, 60.0, None, "float32")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Workers that need 2 s an epoch, in bfloat16 half of that, and 1 + 3 s besides."""
    asked: list[Job] = []

    def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[Done]:
        for job in reversed(jobs):  # whatever order they end in
            asked.append(job)
            epoch = 2.0 if job.arguments["precision"] == "float32" else 1.0
            yield Done(job, {"epoch": epoch, "once": 1.0, "here": 10.0}, 13.0)

    monkeypatch.setattr(planning, "run_jobs", run_jobs)
    return asked


def test_as_many_passes_as_fit_into_the_time(measured: list[Job], tmp_path: Path) -> None:
    asked = replace(ASKED, precision="bfloat16")
    plan = make_plan(tmp_path, make_design("v1.fig4"), asked, "mark", workers=2)
    assert sorted(job.name for job in measured) == sorted(cell.name for cell in make_design("v1.fig4").cells)
    assert (plan.precision, plan.epochs) == ("bfloat16", 116)  # two cores for 60 s, less 4 s, by 1 s a pass
    for cell in make_design("v1.fig4").cells:
        assert plan.seconds(cell) == 4 + 116


def test_auto_comes_to_the_precision_that_train_would_choose(measured: list[Job], tmp_path: Path) -> None:
    plan = make_plan(tmp_path, make_design("v1.table5"), replace(ASKED, precision="auto"), "mark", workers=1)
    assert plan.precision == choose_precision("auto", torch.device("cpu")).name
    assert plan.epochs == {"float32": 28, "bfloat16": 56}[plan.precision]
    assert {job.arguments["precision"] for job in measured} == {plan.precision}


def test_too_little_time_still_makes_one_pass_and_says_so(
    measured: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(tmp_path, make_design("v1.table4"), replace(ASKED, seconds=1.0), "mark", workers=1)
    assert plan.epochs == 1
    assert "1 seconds a training are too few" in capsys.readouterr().err


def test_passes_that_are_given_are_not_measured(measured: list[Job], tmp_path: Path) -> None:
    plan = make_plan(tmp_path, make_design("v1.table4"), replace(ASKED, epochs=7), "mark", workers=1)
    assert (plan.epochs, plan.precision, measured) == (7, "float32", [])
    assert plan.seconds(make_design("v1.table4").cells[0]) is None


@pytest.mark.parametrize(
    ("resolution", "stride", "recipe"), [(32, 8, "small_pictures"), (96, 16, "default"), (224, 32, "default")]
)
def test_all_cells_have_the_stride_and_the_recipe_of_the_largest_input(
    tmp_path: Path, resolution: int, stride: int, recipe: str
) -> None:
    design = make_design("v1.fig4", resolution=resolution)
    plan = make_plan(tmp_path, design, replace(ASKED, resolution=resolution, epochs=1), "mark", workers=1)
    for cell in design.cells:
        arguments = plan.training(cell, 0, tmp_path)
        assert (arguments["total_stride"], arguments["recipe"]) == (stride, recipe)
        assert arguments["resolution"] == cell.resolution
        assert ("train_resolution=1" in arguments["set"]) == (recipe == "default")


def test_the_plan_is_read_back(measured: list[Job], tmp_path: Path) -> None:
    assert kept_plan(tmp_path / "new", ASKED, "mark") is None
    made = make_plan(tmp_path, make_design("v1.fig4"), ASKED, "mark", workers=2)
    assert kept_plan(tmp_path, ASKED, "mark") == made


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("experiment", "v1.table4", ["experiment 'v1.fig4'", "'v1.table4'"]),
        ("data", "other", ["data 'data'", "'other'"]),
        ("epochs", 3, ["epochs left out", "now 3"]),
        ("seconds", 30.0, ["seconds 60.0", "now 30.0"]),
        ("full", True, ["full False", "now True"]),
    ],
)
def test_a_folder_goes_on_with_what_it_was_begun_with_alone(
    tmp_path: Path, name: str, value: object, words: list[str]
) -> None:
    (tmp_path / PLAN).write_text(json.dumps(_plan()))
    with pytest.raises(UserError) as refused:
        kept_plan(tmp_path, replace(ASKED, **{name: value}), "mark")  # type: ignore[arg-type]
    for word in (*words, "--restart"):
        assert word in str(refused.value)


def test_data_that_changed_and_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text(json.dumps(_plan()))
    with pytest.raises(UserError, match="the data at data changed"):
        kept_plan(tmp_path, ASKED, "another mark")
    (tmp_path / PLAN).write_text(json.dumps({"asked": {}}))
    with pytest.raises(UserError, match="is no plan of an experiment"):
        kept_plan(tmp_path, ASKED, "mark")
    (tmp_path / PLAN).unlink()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and no experiment"):
        kept_plan(tmp_path, ASKED, "mark")
    with pytest.raises(UserError, match="is a file"):
        kept_plan(tmp_path / "mine.txt", ASKED, "mark")


def _plan() -> dict[str, object]:
    rest = {"epochs": 2, "precision": "float32", "total_stride": 8, "recipe": "small_pictures", "set": []}
    return {"asked": asdict(ASKED), "fingerprint": "mark", "measured": {}} | rest
