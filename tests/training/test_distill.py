"""Trainings with a teacher: what it sees, what is learnt from it, resuming, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying import change_weights, die_and_go_on, kill_when
from test_trainer import SETTINGS, metrics, same_run
from torch import Tensor, nn

from mobilenets.api import train
from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Preprocessing
from mobilenets.data.augment import Augmentation
from mobilenets.data.loader import Batch
from mobilenets.data.records import ClassLabel
from mobilenets.deploy.load import load
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.training.checkpoint import load_tensors, save_tensors
from mobilenets.training.distill import Distiller, TeachersView
from mobilenets.training.distillation import Distillation
from mobilenets.training.lesson import Lesson, plan_lesson
from mobilenets.training.loop import LabelLoss, Normaliser
from mobilenets.training.recipe import Recipe
from mobilenets.training.run import BEST, LABELS, LAST, RECIPE, SPEC, open_run
from mobilenets.training.teacher import Teacher, teacher_of_module, teacher_of_network, watched

NAMES = ("stripes", "disc", "square")  # the teacher's order is not the data's
CPU = torch.device("cpu")
FORMS = {
    "soft": "soft",
    "everything": "soft:0.5,hard:0.3,feature,attention,relational",
}


def write_run(folder: Path, model: str = "mobilenet_v2_035", names: tuple[str, ...] = NAMES, **settings: Any) -> Path:
    """A Run with random weights and its own normalisation."""
    torch.manual_seed(5)
    spec = create_spec(model, classes=len(names), **{"resolution": 48, **settings})
    pre = Preprocessing(resolution=spec.resolution, mean=(127.5,) * 3, std=(127.5,) * 3, crop_fraction=1.0)
    network = build_network(type(spec).from_json(spec.to_json() | {"preprocessing": _plain(pre)}))
    (folder / "checkpoints").mkdir(parents=True)
    (folder / SPEC).write_text(json.dumps(network.spec.to_json()))
    (folder / LABELS).write_text(json.dumps([{"name": name} for name in names]))
    (folder / RECIPE).write_text(json.dumps({"task": "classify", "arguments": {}, "recipe": {}}))
    save_tensors(folder / BEST, network.state_dict(), {})
    return folder


def _plain(pre: Preprocessing) -> dict[str, Any]:
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(pre)))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("teacher") / "run")


def lesson_of(teacher: Teacher, classes: int = 3, **settings: Any) -> Lesson:
    recipe = Recipe(name="test", distillation=Distillation(**settings))
    labels = tuple(ClassLabel(name) for name in ("disc", "square", "stripes")[:classes])
    return plan_lesson(teacher, recipe, create_spec("mobilenet_v1_025", classes=classes), labels, 32)


def batch_of(count: int) -> Batch:
    return Batch(torch.zeros(count, 1, 1, 3, dtype=torch.uint8), torch.zeros(count), torch.arange(count), 0)


# What the teacher sees --------------------------------------------------------------------------------------------


def test_the_teacher_answers_as_evaluate_does(teacher: Path) -> None:
    """The same pixels, normalised for a student with other constants, give the logits that the loaded Run gives."""
    loaded = load(teacher)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    normalise = Normaliser(Preprocessing(resolution=48), CPU)
    record = teacher_of_network("t", "", "0", loaded.network, loaded.labels)
    lesson = lesson_of(record, soft=0.9)
    assert lesson.columns == (1, 2, 0)
    distiller = Distiller(lesson, build_network(create_spec("mobilenet_v1_025", classes=3)), normalise)
    answers = distiller.answers(normalise(torch.from_numpy(pixels)))
    np.testing.assert_allclose(answers.detach(), loaded.logits(pixels)[:, [1, 2, 0]], rtol=1e-4, atol=1e-5)


def test_the_same_normalisation_and_resolution_change_no_bit() -> None:
    pre = Preprocessing(resolution=32)
    record = Teacher("t", "", None, lambda x: x, mean=pre.mean, std=pre.std, resolution=32)
    images = torch.randn(2, 3, 32, 32)
    assert TeachersView(record, Normaliser(pre, CPU), None)(images) is images


@pytest.mark.parametrize("size", [16, 48])
def test_another_resolution_is_reached_by_antialiased_bilinear_resizing(size: int) -> None:
    """Against the data layer's own kernel (Pillow's, on uint8)."""
    from mobilenets.data.preprocess import resize

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    normalise = Normaliser(Preprocessing(resolution=32), CPU)
    record = Teacher("t", "", None, lambda x: x, mean=(0.0,) * 3, std=(1.0,) * 3)
    seen = TeachersView(record, normalise, size)(normalise(torch.from_numpy(pixels[None])))
    assert seen.shape == (1, 3, size, size)
    expected = resize(pixels, size, size, "bilinear").transpose(2, 0, 1)
    assert float((seen[0] - torch.from_numpy(expected.astype(np.float32))).abs().max()) < 1.6  # two roundings


def test_the_teacher_sees_the_mixed_picture_in_evaluation_mode_without_gradients(shapes: Path, tmp_path: Path) -> None:
    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.seen: list[Tensor] = []
            self.modes: set[tuple[bool, bool]] = set()

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(x.detach().clone())
            self.modes.add((self.training, torch.is_grad_enabled()))
            return self.layer(x.mean((2, 3)))

    from mobilenets.training import loop

    module, inputs = Watching().train(), []
    original = loop.mix

    def noted(*args: Any) -> tuple[Tensor, Tensor]:
        mixed, targets = original(*args)
        inputs.append(mixed.clone())
        return mixed, targets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "mix", noted)
        train(shapes, out=tmp_path / "run", teacher=module, mixup=0.4, **{**SETTINGS, "epochs": 1})
    assert module.modes == {(False, False)}
    assert len(module.seen) == len(inputs) + 1  # and once before the training, to try it
    assert all(torch.equal(a, b) for a, b in zip(module.seen[1:], inputs))


# What is learnt ---------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_its_forms(teacher: Path) -> None:
    """The parts, computed here from what is watched, add up to what the Distiller returns."""
    from mobilenets.training.distill_losses import (
        attention_loss,
        feature_loss,
        hard_loss,
        relational_loss,
        soft_loss,
    )

    loaded = load(teacher)
    record = teacher_of_network("t", "", "0", loaded.network, loaded.labels)
    weights = {"soft": 0.5, "hard": 0.3, "feature": 0.7, "attention": 9.0, "relational": 2.0}
    lesson = lesson_of(record, **weights, taps=(("c4", "c4"), ("c5", "c5")), temperature=3.0)
    torch.manual_seed(0)
    student = build_network(create_spec("mobilenet_v1_025", classes=3)).eval()
    normalise = Normaliser(Preprocessing(resolution=48), CPU)
    distiller = Distiller(lesson, student, normalise)
    images, targets = torch.randn(6, 3, 48, 48), torch.eye(3).repeat(2, 1)
    total = distiller(student, images, targets, batch_of(6))

    theirs = distiller.view(images)
    with torch.no_grad():
        maps, far = loaded.network.features(theirs, ["c4", "c5"]), loaded.network.embed(theirs)
        answers = loaded.network(theirs)[:, [1, 2, 0]]
    own, near, logits = student.features(images, ["c4", "c5"]), student.embed(images), student(images)
    expected = 0.2 * LabelLoss()(student, images, targets, batch_of(6))
    expected = expected + 0.5 * soft_loss(logits, answers, 3.0) + 0.3 * hard_loss(logits, answers)
    expected = expected + 2.0 * relational_loss(near, far)
    for name in ("c4", "c5"):
        expected = expected + 0.35 * feature_loss(distiller.projections[name](own[name]), maps[name])
        expected = expected + 4.5 * attention_loss(own[name], maps[name])
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
    total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in distiller.projections.parameters())
    assert all(p.grad is None for p in loaded.network.parameters())


def test_watching_leaves_nothing_behind() -> None:
    network = build_network(create_spec("mobilenet_v1_025", classes=3)).eval()
    with watched({"x": network.blocks[2]}) as seen:
        network(torch.zeros(1, 3, 32, 32))
    assert list(seen) == ["x"]
    assert not network.blocks[2]._forward_hooks


@pytest.mark.slow
def test_a_student_learns_to_answer_as_its_teacher(shapes: Path, tmp_path: Path) -> None:
    """A good teacher and no labels at all (soft 1): the student's selection score comes from the teacher alone."""
    settings = {**SETTINGS, "epochs": 40, "lr": 0.01}
    strong = train(shapes, out=tmp_path / "teacher", **settings)
    taught = train(shapes, out=tmp_path / "student", teacher=tmp_path / "teacher", distill="soft:1", **settings)
    assert strong["report"]["top1"] > 0.7
    assert taught["report"]["top1"] > 0.6  # chance is a third
    losses = [row["train_loss"] for row in metrics(tmp_path / "student")]
    assert losses[-1] < 0.5 * losses[0]


# The Run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FORMS)
def forms(request: pytest.FixtureRequest) -> str:
    return FORMS[request.param]


@pytest.fixture(scope="module")
def straight(forms: str, shapes: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    train(shapes, out=run, teacher=teacher, distill=forms, **SETTINGS)
    return run


def test_the_run_names_its_teacher(straight: Path, forms: str, shapes: Path, teacher: Path) -> None:
    recipe = open_run(straight).recipe
    assert recipe["teacher"]["teacher"] == str(teacher)
    assert recipe["teacher"]["sha256"] == recipe["arguments"]["teacher_sha256"]
    assert len(recipe["teacher"]["sha256"]) == 64
    assert recipe["recipe"]["distillation"]["soft"] > 0
    report = (straight / "report.html").read_text()
    assert recipe["teacher"]["sha256"] in report
    assert f"--teacher {teacher}" in report
    assert "--teacher-sha256" not in report
    again = train(shapes, out=straight, teacher=teacher, distill=forms, **SETTINGS)
    assert again["teacher"] == recipe["teacher"]
    last, _ = load_tensors(straight / LAST)
    best, _ = load_tensors(straight / BEST)
    assert any(name.startswith("beside/c5") for name in last) == ("feature" in forms)
    assert best.keys() == open_run(straight).network().state_dict().keys()  # projections are thrown away


@pytest.mark.parametrize("target", ["save", pytest.param("save_best", marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_stopped_at_a_write_it_ends_with_the_same_numbers(
    straight: Path,
    forms: str,
    teacher: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    call: int,
) -> None:
    run = tmp_path / "run"
    die_and_go_on(monkeypatch, target, call, lambda: train(shapes, out=run, teacher=teacher, distill=forms, **SETTINGS))
    same_run(straight, run)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["recipe.json", LAST])
def test_sigkill_loses_nothing(
    straight: Path, forms: str, teacher: Path, shapes: Path, tmp_path: Path, moment: str
) -> None:
    run = tmp_path / "run"
    kill_when(
        (run / moment).exists,
        {"data": str(shapes), "out": str(run), "teacher": str(teacher), "distill": forms, **SETTINGS},
    )
    train(shapes, out=run, teacher=teacher, distill=forms, **SETTINGS)
    same_run(straight, run)


def test_a_changed_teacher_is_told(teacher: Path, shapes: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    settings = {**SETTINGS, "epochs": 1}
    train(shapes, out=tmp_path / "run", teacher=copy, **settings)
    change_weights(copy)
    with pytest.raises(UserError, match=r"the teacher .* changed since") as caught:
        train(shapes, out=tmp_path / "run", teacher=copy, **settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="was trained with teacher"):
        train(shapes, out=tmp_path / "run", teacher=teacher, **settings)


def test_a_run_of_before_teachers_existed_goes_on(shapes: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "epochs": 1}
    train(shapes, out=tmp_path / "run", **settings)
    path = tmp_path / "run" / RECIPE
    recipe = json.loads(path.read_text())
    assert recipe.pop("teacher") is None
    assert recipe["recipe"].pop("distillation") is None
    for name in [name for name in recipe["arguments"] if "teacher" in name or name in ("distill", "temperature")]:
        assert recipe["arguments"].pop(name) is None
    path.write_text(json.dumps(recipe))
    assert train(shapes, out=tmp_path / "run", **settings)["teacher"] is None


# What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": "nowhere/teacher"}, "nowhere/teacher: no such file or folder"),
        ({"distill": "soft,wisdom"}, "unknown form 'wisdom'"),
        ({"distill": "feature", "teacher_taps": "c9"}, "no feature map 'c9' in the student, a mobilenet_v1_025"),
        ({"distill": "feature", "teacher_taps": "c5=c9"}, r"no feature map 'c9' in .*teacher.*, a mobilenet_v2_035"),
        ({"teacher_cache": 2, "cutmix": 1.0}, "teacher cache contradicts cutmix 1"),
        ({"teacher_input": "unit"}, "teacher input unit goes with an ONNX file"),
        ({"teacher": None, "distill": "soft"}, "distill goes with a teacher"),
        ({"freeze": "all", "batch_size": None, "lr": None}, "a teacher contradicts freeze all"),
    ],
)
def test_bad_values_are_one_line_and_leave_nothing(
    teacher: Path, shapes: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    settings = {**SETTINGS, "teacher": teacher, **change}
    if "freeze" in change:
        settings = {"resolution": 32, "epochs": 1, "teacher": teacher, "weights": teacher, "freeze": "all"}
    with pytest.raises(UserError, match=words) as caught:
        train(shapes, out=tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused_unless_answers_are_not_needed(shapes: Path, tmp_path: Path) -> None:
    stranger = write_run(tmp_path / "stranger", names=("cat", "dog"))
    with pytest.raises(UserError, match=r"the data's class 'disc' is none of the classes of .*: cat, dog"):
        train(shapes, out=tmp_path / "run", teacher=stranger, **SETTINGS)
    result = train(
        shapes, out=tmp_path / "run", teacher=stranger, distill="attention,relational", **{**SETTINGS, "epochs": 1}
    )
    assert result["teacher"]["forms"].startswith("attention")


def test_a_broken_teacher_is_one_line(teacher: Path, shapes: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    (copy / BEST).write_bytes((copy / BEST).read_bytes()[:1000])
    with pytest.raises(UserError, match="not a whole checkpoint") as caught:
        train(shapes, out=tmp_path / "run", teacher=copy, **SETTINGS)
    assert "\n" not in str(caught.value)


def test_the_teachers_own_run_is_never_overwritten(teacher: Path, shapes: Path) -> None:
    with pytest.raises(UserError, match="holds the teacher"):
        train(shapes, out=teacher, teacher=teacher, restart=True, **SETTINGS)
    assert (teacher / BEST).exists()


# Torch modules ----------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """A network of somebody else's."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.stem(x).relu()).flatten(1))


def test_any_module_teaches_and_its_parts_are_found_by_name(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    settings = {**SETTINGS, "epochs": 1}
    result = train(
        shapes,
        out=tmp_path / "run",
        teacher=Plain(),
        distill="soft,feature,relational",
        teacher_taps="c2=stem,embedding=pool",
        **settings,
    )
    assert result["teacher"]["teacher"] == "a Plain"
    weight = load_tensors(tmp_path / "run" / LAST)[0]["beside/c2.weight"]
    assert weight.shape[0] == 8
    with pytest.raises(UserError, match="the teacher a Plain changed since"):
        train(
            shapes,
            out=tmp_path / "run",
            teacher=Plain(),
            distill="soft,feature,relational",
            teacher_taps="c2=stem,embedding=pool",
            **settings,
        )


@pytest.mark.parametrize(
    ("teacher", "settings", "words"),
    [
        (Plain(4), {"soft": 0.9}, "a Plain gives 4 outputs without names, the data has 3 classes"),
        (Plain(), {"feature": 1.0}, "a Plain has no named taps"),
        (Plain(), {"feature": 1.0, "taps": (("c5", "layer9"),)}, "no part 'layer9' in a Plain; it has stem, pool, fc"),
        (Plain(), {"feature": 1.0, "taps": (("c5", "fc"),)}, "the teacher's part for c5 gives 2 dimensions"),
        (Plain(), {"relational": 1.0}, "no part 'embedding' in a Plain"),
        (nn.Flatten(0), {"soft": 0.9}, "a Flatten does not give logits"),
        (nn.Linear(7, 3), {"soft": 0.9}, "a Linear fails on images"),
        (lambda x: x.mean((2, 3)), {"relational": 1.0}, "gives answers alone"),
        (lambda x: x.mean((2, 3)), {"soft": 0.9, "copies": 2}, "teacher cache needs a teacher with weights"),
    ],
)
def test_modules_that_cannot_teach_are_refused(teacher: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        lesson_of(teacher_of_module(teacher), **settings)
    assert "\n" not in str(caught.value)


def test_mixing_goes_without_a_cache_only() -> None:
    recipe = Recipe(name="test", distillation=Distillation(soft=0.9, copies=2), augmentation=Augmentation(mixup=0.2))
    labels = tuple(ClassLabel(name) for name in NAMES)
    with pytest.raises(UserError, match=r"teacher cache contradicts mixup 0\.2"):
        plan_lesson(teacher_of_module(Plain()), recipe, create_spec("mobilenet_v1_025", classes=3), labels, 32)
