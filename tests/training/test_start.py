"""Trainings that begin from weights: what becomes of them, what trains, what is refused, and resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_shapes import write_shapes
from dying import change_weights, die_and_go_on, kill_when
from test_trainer import SETTINGS, metrics, same_run

from mobilenets.api import train
from mobilenets.arch.adapt import folded
from mobilenets.arch.registry import create_spec
from mobilenets.data.dataset import open_dataset
from mobilenets.data.loader import scoring_batches
from mobilenets.data.roles import roles
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.training import features, head_only
from mobilenets.training.checkpoint import load_tensors, save_tensors
from mobilenets.training.freeze import Freezing, first_trained
from mobilenets.training.loop import Normaliser
from mobilenets.training.optimise import make_optimiser
from mobilenets.training.recipe import Optimiser, Tuning
from mobilenets.training.run import BEST, EVALUATION, LABELS, LAST, RECIPE, SPEC, open_run
from mobilenets.training.start import kept_rows, make_start

TUNE: dict[str, Any] = {"resolution": 32, "epochs": 3, "batch_size": 16, "lr": 0.003}
MODES: dict[str, dict[str, Any]] = {
    "plain": {**TUNE, "freeze": "none"},
    "gradual": {**TUNE, "unfreeze": 0.7, "layer_decay": 0.8},
    "frozen": {**TUNE, "freeze": "c3", "norm_stats": "refresh"},
    "head": {"resolution": 32, "epochs": 3, "freeze": "all"},
}


@pytest.fixture(scope="module")
def weights(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run of a few steps on the same pictures under other class names."""
    data = tmp_path_factory.mktemp("others") / "data"
    for split in ("train", "val"):
        for old, new in (("disc", "round"), ("square", "edgy"), ("stripes", "lines")):
            shutil.copytree(shapes / split / old, data / split / new)
    run = data.parent / "weights"
    train(data, out=run, **{**SETTINGS, "epochs": 6}, precision="float32")
    return run


@pytest.fixture(scope="module")
def folded_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run as `weights convert` leaves it: BatchNorm folded in, random numbers."""
    run = tmp_path_factory.mktemp("folded") / "weights"
    torch.manual_seed(2)
    network = build_network(folded(create_spec("mobilenet_v2_035", classes=4, resolution=64)))
    (run / "checkpoints").mkdir(parents=True)
    (run / SPEC).write_text(json.dumps(network.spec.to_json()))
    (run / LABELS).write_text(json.dumps([{"name": f"class {i}"} for i in range(4)]))
    (run / RECIPE).write_text(json.dumps({"task": "classify", "arguments": {}, "recipe": {}}))
    save_tensors(run / BEST, network.state_dict(), {})
    return run


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


@pytest.fixture(scope="module")
def straight(mode: dict[str, Any], shapes: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run from weights that nothing interrupted, in each mode."""
    run = tmp_path_factory.mktemp("straight") / "run"
    train(shapes, out=run, weights=weights, **mode)
    return run


def test_the_run_says_what_it_began_from(straight: Path, mode: dict[str, Any], weights: Path, shapes: Path) -> None:
    run = open_run(straight)
    start = run.recipe["start"]
    assert start["weights"] == str(weights)
    assert start["classifier"] == "3 classes -> 3, fresh"
    assert start["frozen"] == mode.get("freeze", "c3")
    assert start["frozen_blocks"] == {"c3": 6, "all": 14}.get(mode.get("freeze", "c3"), 0)
    assert run.recipe["arguments"]["weights_sha256"] == start["sha256"]
    assert run.spec.preprocessing.mean == open_run(weights).spec.preprocessing.mean
    report = (straight / "report.html").read_text()
    assert "Weights it began from" in report
    assert start["sha256"] in report
    assert not (straight / head_only.FEATURES).exists()
    assert len(metrics(straight)) == 3
    again = train(shapes, out=straight, weights=weights, **mode)
    assert again["weights"] == start
    assert again["epochs"] == 3


def test_frozen_blocks_keep_their_weights_and_statistics(straight: Path, mode: dict[str, Any], weights: Path) -> None:
    before, _ = load_tensors(weights / BEST)
    after, _ = load_tensors(straight / LAST)
    count = first_trained(open_run(straight).spec, mode.get("freeze", "c3"))
    for name, tensor in before.items():
        block = int(name.split(".")[1]) if name.startswith("blocks.") else None
        own = after[f"network/{name}"]
        statistics = "running" in name or "tracked" in name
        if block is not None and block < count:
            if not (statistics and mode.get("norm_stats") == "refresh"):
                assert torch.equal(tensor, own), name
        elif block is not None and not statistics:
            assert not torch.equal(tensor, own), name


@pytest.mark.parametrize("target", ["save", "save_best", "score", "evaluate", "write_report", "write_text", "store"])
@pytest.mark.parametrize("call", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_stopped_at_any_write_it_ends_with_the_same_numbers(
    straight: Path,
    mode: dict[str, Any],
    weights: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    call: int,
) -> None:
    if mode is not MODES["head"] and (mode is not MODES["gradual"] or target == "store"):
        pytest.skip("one mode with steps is enough, and the one without")
    run = tmp_path / "run"
    die_and_go_on(monkeypatch, target, call, lambda: train(shapes, out=run, weights=weights, **mode))
    same_run(straight, run)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["recipe.json", f"{head_only.FEATURES}/0.labels", BEST, LAST, EVALUATION])
def test_sigkill_at_any_moment(
    straight: Path, mode: dict[str, Any], weights: Path, shapes: Path, tmp_path: Path, moment: str
) -> None:
    run = tmp_path / "run"
    arguments = {"data": str(shapes), "out": str(run), "weights": str(weights), **mode}
    kill_when((run / moment).exists, arguments)
    train(shapes, out=run, weights=weights, **mode)
    same_run(straight, run)
    assert not list(run.rglob("*.part"))


def test_changed_weights_are_told(weights: Path, shapes: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "weights"))
    settings = {**TUNE, "epochs": 1}
    train(shapes, out=tmp_path / "run", weights=copy, **settings)
    change_weights(copy)
    with pytest.raises(UserError, match=r"the weights .* changed since") as caught:
        train(shapes, out=tmp_path / "run", weights=copy, **settings)
    assert "\n" not in str(caught.value)


def test_the_same_classes_keep_the_classifier_whatever_their_order(shapes: Path) -> None:
    spec = create_spec("mobilenet_v1_025", classes=3)
    labels = [{"name": n} for n in ("stripes", "disc", "square")]
    start = make_start("w", spec, build_network(spec).state_dict(), labels)
    assert kept_rows(start, ["disc", "square", "stripes"]) == [1, 2, 0]
    assert kept_rows(start, ["disc", "square"]) is None
    assert kept_rows(start, ["disc", "square", "cross"]) is None


def test_kept_classifier_scores_as_before_the_first_step(weights: Path, shapes: Path, tmp_path: Path) -> None:
    """From a Run of the same classes, a training that hardly moves scores what the Run scored."""
    train(shapes, out=tmp_path / "a", **{**SETTINGS, "epochs": 6})
    settings = {**TUNE, "epochs": 1, "lr": 1e-9}
    result = train(shapes, out=tmp_path / "b", weights=tmp_path / "a", norm_stats="keep", **settings)
    assert result["weights"]["classifier"] == "3 classes, kept"
    a, b = (json.loads((tmp_path / name / EVALUATION).read_text()) for name in "ab")
    assert b["loss"] == pytest.approx(a["loss"], abs=1e-3)
    assert b["top1"] == a["top1"]


@pytest.mark.parametrize(("stats", "norm"), [("train", "batch"), ("refresh", "batch"), ("keep", "none")])
def test_folded_weights_get_batch_norm_back_unless_it_is_kept(
    folded_weights: Path, shapes: Path, tmp_path: Path, stats: str, norm: str
) -> None:
    train(shapes, out=tmp_path / "run", weights=folded_weights, norm_stats=stats, **{**TUNE, "epochs": 1})
    run = open_run(tmp_path / "run")
    assert run.spec.norm.kind == norm
    assert run.spec.name == "mobilenet_v2_035"
    assert (
        run.recipe["start"]["batch_norm"]
        == {
            "train": "trains, put back",
            "refresh": "statistics of the training images, kept, put back",
            "keep": "folded in",
        }[stats]
    )


def test_gradual_unfreezing_thaws_from_the_top() -> None:
    network = build_network(create_spec("mobilenet_v1_025", classes=3))
    freezing = Freezing(network, Tuning(unfreeze=0.5))
    blocks = len(network.blocks)
    assert [freezing.first(p) for p in (0.0, 0.25, 0.5, 1.0)] == [blocks, blocks // 2, 0, 0]
    freezing.apply_(0.25)
    assert [next(b.parameters()).requires_grad for b in network.blocks] == [i >= blocks // 2 for i in range(blocks)]
    assert [b.training for b in network.blocks] == [i >= blocks // 2 for i in range(blocks)]
    assert network.head.training
    part = Freezing(network, Tuning(unfreeze=0.5, freeze="c4", norm_stats="keep"))
    assert part.first(1.0) == first_trained(network.spec, "c4") == 12
    part.apply_(1.0)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(m.training for m in norms)


def test_layer_decay_scales_the_learning_rate_block_by_block() -> None:
    network = build_network(create_spec("mobilenet_v1_025", classes=3))
    optimiser = make_optimiser(network, Optimiser(), Tuning(layer_decay=0.5, head_lr=3.0, freeze="c4"))
    scale = {id(p): group["scale"] for group in optimiser.param_groups for p in group["params"]}
    assert scale[id(network.head.classifier.weight)] == 3.0  # type: ignore[union-attr]
    assert scale[id(next(network.blocks[-1].parameters()))] == 0.5
    assert scale[id(next(network.blocks[-2].parameters()))] == 0.25
    assert id(next(network.blocks[11].parameters())) not in scale


def test_the_copies_of_a_frozen_backbone(weights: Path, shapes: Path, tmp_path: Path) -> None:
    """The first copy is the scored images, the second the mirrored ones, and the features are those of the weights."""
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    original = features.store

    def keep(folder: Path, name: str, made: Any, on_images: Any) -> None:
        original(folder, name, made, on_images)
        found = features.stored(folder, name, 256)
        assert found is not None
        kept[name] = (np.array(found[0]), found[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_only, "store", keep)
        train(shapes, out=tmp_path / "run", weights=weights, **MODES["head"])
    dataset = open_dataset(shapes)
    parts = roles(dataset, seed=0)
    run = open_run(weights)
    normalise = Normaliser(run.spec.preprocessing, torch.device("cpu"))
    batches = list(scoring_batches(dataset, parts.train, run.spec.preprocessing))
    mirrored = [(images[:, :, ::-1].copy(), labels) for images, labels in batches]
    for name, pictures in (("0", batches), ("1", mirrored)):
        expected, labels = features.gather(features.embed(run.network(), pictures, normalise, normalise.mean.device))
        assert np.abs(kept[name][0] - expected).max() < 1e-4
        assert (kept[name][1] == labels).all()
    assert np.abs(kept["2"][0] - kept["0"][0][: len(kept["2"][0])]).max() > 1e-3
    (tmp_path / "0.labels").write_bytes(b"12345678")
    assert features.stored(tmp_path, "0", 256) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze": "c9"}, "unknown freeze 'c9'; allowed for mobilenet_v1_025: none, all, c1, c2, c3, c4, c5"),
        ({"layer_decay": 0.0}, "layer decay 0 is out of range"),
        ({"layer_decay": 1.5}, "layer decay 1.5 is out of range"),
        ({"unfreeze": -0.1}, "unfreeze -0.1 is out of range"),
        ({"norm_stats": "frozen"}, "unknown norm stats 'frozen'"),
        ({"freeze": "all"}, "batch size 16 contradicts freeze all"),
        ({"freeze": "all", "batch_size": None, "lr": None, "norm_stats": "train"}, "norm stats train contradicts"),
        ({"freeze": "all", "batch_size": None, "lr": None, "unfreeze": 0.5}, "unfreeze 0.5 contradicts freeze all"),
        ({"model": "mobilenet_v2"}, "model mobilenet_v2 contradicts the weights"),
        ({"model": "mobilenet_v1", "width": 0.5}, "model mobilenet_v1_050 contradicts the weights"),
        ({"width": 0.5}, "width 0.5 contradicts the weights"),
        ({"resolution": 8}, "resolution 8 is out of range"),
        ({"weights": "nowhere/at_all.h5"}, "nowhere/at_all.h5"),
        ({"weights": None, "freeze": "c3"}, "freeze goes with weights"),
        ({"weights": None, "norm_stats": "keep"}, "norm stats goes with weights"),
        ({"weights": None, "recipe": "transfer"}, "recipe transfer goes with weights"),
    ],
)
def test_what_contradicts_is_one_line_and_leaves_nothing(
    weights: Path, shapes: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        train(shapes, out=tmp_path / "run", **{**TUNE, "weights": weights, **change})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_are_never_overwritten_by_their_own_training(weights: Path, shapes: Path) -> None:
    with pytest.raises(UserError, match="holds the weights to begin from"):
        train(shapes, out=weights, weights=weights, restart=True, **TUNE)
    assert (weights / BEST).exists()


def test_a_run_of_before_weights_existed_goes_on(shapes: Path, tmp_path: Path) -> None:
    """Its arguments lack what came since; the same command still finds them the same."""
    train(shapes, out=tmp_path / "run", **{**SETTINGS, "epochs": 1})
    path = tmp_path / "run" / RECIPE
    recipe = json.loads(path.read_text())
    for name in ("weights", "weights_sha256", "freeze", "layer_decay", "unfreeze", "norm_stats"):
        assert recipe["arguments"].pop(name) is None
    recipe.pop("start")
    path.write_text(json.dumps(recipe))
    assert train(shapes, out=tmp_path / "run", **{**SETTINGS, "epochs": 1})["epochs"] == 1


@pytest.mark.slow
def test_weights_that_know_the_pictures_need_few_of_them(weights: Path, tmp_path: Path) -> None:
    """Forty epochs on other class names, then twelve pictures of each class: far better than from random weights."""
    known = tmp_path / "known"
    train(weights.parent / "data", out=known, **{**SETTINGS, "epochs": 40})
    data = write_shapes(tmp_path / "data", train=12, val=60)
    settings = {**TUNE, "epochs": 6, "batch_size": 8}
    tuned = train(data, out=tmp_path / "a", weights=known, **settings)
    head = train(data, out=tmp_path / "b", weights=known, resolution=32, freeze="all")
    scratch = train(data, out=tmp_path / "c", model="mobilenet_v1_025", total_stride=32, **settings)
    assert tuned["report"]["top1"] > scratch["report"]["top1"] + 0.15
    assert head["report"]["top1"] > scratch["report"]["top1"] + 0.15
