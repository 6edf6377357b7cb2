"""`prune` end to end: a Run becomes a narrower one; it goes on where it stopped, and what cannot be is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.arch.cost import cost
from mobilenets.compress.netadapt import Step
from mobilenets.deploy import prune as prune_module
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.export import export
from mobilenets.deploy.latency.profile import QUICK as MEASURED
from mobilenets.deploy.load import load
from mobilenets.deploy.prune import prune
from mobilenets.deploy.prune_search import Search
from mobilenets.deploy.quantize import quantize
from mobilenets.errors import UserError
from mobilenets.training.run import PRUNING, open_run

QUICK: dict[str, Any] = {"keep": 0.8, "epochs": 1, "multiple": 4}


@pytest.fixture(scope="module")
def answer(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What prune says of the small Run. Not to be changed."""
    return prune(run, tmp_path_factory.mktemp("pruned") / "run", **QUICK)


def test_it_says_what_was_cut_and_what_is_left(answer: dict[str, Any], run: Path) -> None:
    whole, pruned = open_run(run).spec, open_run(Path(answer["run"])).spec
    assert answer["macs"] == {"before": cost(whole).macs, "after": cost(pruned).macs}
    assert answer["macs"]["after"] <= 0.8 * answer["macs"]["before"]
    assert answer["steps"]
    assert answer["steps"][-1]["measured"] == pytest.approx(answer["macs"]["after"] / 1e6)
    assert answer["ok"] is True
    assert answer["latency"] is None
    assert answer["original"]["images"] == answer["report"]["images"]
    assert answer["original"]["top1"] == evaluate(run, load(run).data)["top1"]


def test_the_result_is_a_run_like_any_other(answer: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(answer["run"])
    assert evaluate(folder, load(folder).data)["top1"] == answer["report"]["top1"]
    assert not folder.with_name(f"{folder.name}.search").exists()
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["teacher"]["teacher"] == answer["network"]
    files = export(folder, tmp_path / "bundle", ["onnx"])["files"]
    assert files[0]["max_abs_error"] is not None
    assert quantize(folder, tmp_path / "int8", max_drop=1.0)["images"] == answer["report"]["images"]


def test_it_keeps_the_resolution_whatever_size_the_images_have(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open, training from weights would choose one that suits the images."""

    def stopped(asked: Any, *_: Any, **__: Any) -> None:
        assert asked.resolution == open_run(run).spec.resolution
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_module, "run_training", stopped)
    with pytest.raises(KeyboardInterrupt):
        prune(run, tmp_path / "pruned", **QUICK)


def test_the_second_time_it_is_read(answer: dict[str, Any], run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "load", lambda _: pytest.fail("made again"))
    assert prune(run, answer["run"], **QUICK) == json.loads(json.dumps(answer))
    with pytest.raises(UserError, match=r"was begun with keep 0\.8, now 0\.7: use the same arguments"):
        prune(run, answer["run"], **QUICK | {"keep": 0.7})


def test_a_search_that_was_stopped_goes_on(
    answer: dict[str, Any],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After the first step a signal comes; the second call takes no step twice."""
    add = Search.add

    def stopped(self: Search, step: Step) -> None:
        if self.steps:
            raise KeyboardInterrupt
        add(self, step)

    monkeypatch.setattr(Search, "add", stopped)
    settings = QUICK | {"keep": 0.6}
    with pytest.raises(KeyboardInterrupt):
        prune(run, tmp_path / "run", **settings)
    assert (tmp_path / "run.search").is_dir()
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(Search, "add", add)
    found = prune(run, tmp_path / "run", **settings)
    assert "going on after step 1 of the search" in " ".join(capsys.readouterr().err.split())
    assert found["macs"]["after"] <= 0.6 * found["macs"]["before"]
    assert found["steps"][0]["cuts"] == answer["steps"][0]["cuts"]


@pytest.mark.parametrize(("method", "criterion"), [("one-shot", "taylor"), ("uniform", "batch_norm")])
def test_the_other_methods(run: Path, tmp_path: Path, method: str, criterion: str) -> None:
    found = prune(run, tmp_path / "run", method=method, criterion=criterion, **QUICK)
    assert found["macs"]["after"] <= 0.8 * found["macs"]["before"]
    assert found["steps"] == []


@pytest.mark.slow
def test_by_the_latency_of_a_runtime(run: Path, tmp_path: Path) -> None:
    found = prune(run, tmp_path / "run", target="onnx", method="one-shot", **QUICK)
    assert len(found["latency"]["measured"]) == MEASURED + 1
    assert found["latency"]["ratio"] == found["latency"]["after_ms"] / found["latency"]["before_ms"]
    assert found["ok"] == (found["latency"]["ratio"] <= 0.8 * 1.05)


def test_what_cannot_be_is_one_line(run: Path, tmp_path: Path, answer: dict[str, Any]) -> None:
    out = tmp_path / "run"
    for settings, words in (
        ({"keep": 1.0}, "keep 1 is out of range: allowed is above 0 and below 1"),
        ({"keep": 0.0}, "keep 0 is out of range"),
        ({"method": "magic"}, "unknown method 'magic'; allowed: netadapt, one-shot, uniform"),
        ({"criterion": "l3"}, "unknown criterion 'l3'"),
        ({"multiple": 0}, "multiple 0 is out of range"),
        ({"minutes": -1}, "minutes -1 is out of range"),
        ({"target": "coreml"}, "target coreml: cannot be measured here"),
        ({"target": "tpu"}, "unknown runtime 'tpu'"),
        ({"labels": "colour"}, "labels colour goes with --data"),
    ):
        with pytest.raises(UserError, match=words):
            prune(run, out, **settings)  # type: ignore[arg-type]
    assert not out.exists()
    with pytest.raises(UserError, match="an architecture has random weights"):
        prune("mobilenet_v2", out)


def test_a_folder_in_the_way_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.search").mkdir()
    (tmp_path / "run.search" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is in the way of the search and none"):
        prune(run, tmp_path / "run", **QUICK)
    assert (tmp_path / "run.search" / "mine.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not a run"):
        prune(run, tmp_path / "other", **QUICK)
    with pytest.raises(UserError, match="holds the network; choose another --out"):
        prune(run, run, restart=True, **QUICK)
    shutil.copytree(run, tmp_path / "trained")
    for restart in (False, True):  # another's training is never deleted
        with pytest.raises(UserError, match="is a run that prune did not make"):
            prune(run, tmp_path / "trained", restart=restart, **QUICK)
    assert open_run(tmp_path / "trained").network().spec == open_run(run).spec
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"


def test_other_classes_are_one_line(run: Path, tmp_path: Path) -> None:
    for name in ("sour", "sweet"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            picture = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8).numpy()
            import cv2

            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.png"), picture)
    with pytest.raises(UserError, match=r"has other classes than .*; train it on them first"):
        prune(run, tmp_path / "run", tmp_path / "data", **QUICK)


def test_the_run_keeps_what_was_done(answer: dict[str, Any]) -> None:
    kept = json.loads((Path(answer["run"]) / PRUNING).read_text())
    assert kept["arguments"]["keep"] == 0.8
    page = (Path(answer["run"]) / "report.html").read_text()
    assert "Step by step" in page
    assert answer["steps"][0]["cuts"][0][0] in page
    assert kept["steps"] == json.loads(json.dumps(answer["steps"]))
