"""A teacher and a student brought together: classes matched, places found, all of it checked before anything begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..arch.spec import Spec
from ..console import say
from ..data.matching import map_classes
from ..data.records import ClassLabel
from ..errors import UserError
from .distillation import EMBEDDING, TAPS, Distillation
from .recipe import Recipe
from .teacher import Teacher, find_place, watched


@dataclass(frozen=True)
class Lesson:
    """What the student is taught. `columns[i]` is the teacher's output for the data's class i.

    `channels` has, for each of the student's taps, its own channels and the teacher's.
    """

    teacher: Teacher
    settings: Distillation
    columns: tuple[int, ...]
    channels: dict[str, tuple[int, int]]

    def places(self) -> dict[str, nn.Module]:
        """The parts of the teacher to watch, by the student's names."""
        module = self.teacher.module
        assert module is not None or not self.settings.looks_inside
        names = _names(self.settings)
        return {own: find_place(module, other, self.teacher.name) for own, other in names.items()} if module else {}

    def to_json(self) -> dict[str, Any]:
        """What a Run keeps of it."""
        return {
            "teacher": self.teacher.name,
            "sha256": self.teacher.sha256,
            "recognised": self.teacher.recognised,
            "resolution": self.settings.resolution or self.teacher.resolution,
            "forms": self.settings.describe(),
        }


def plan_lesson(teacher: Teacher, recipe: Recipe, spec: Spec, classes: tuple[ClassLabel, ...], side: int) -> Lesson:
    """The lesson that `recipe.distillation` asks for, tried on one grey image.

    `side` is that of the training images.
    Raises UserError, one line, where classes do not match, a place does not exist, or settings contradict each other.
    """
    settings = recipe.distillation
    assert settings is not None
    _check(teacher, recipe, settings)
    settings = replace(settings, taps=_taps(teacher, settings, spec))
    lesson = Lesson(teacher, settings, (), {})
    logits, shapes = _try(lesson, side)
    columns = tuple(_columns(teacher, logits, classes)) if settings.answers else ()
    own = {tap.name: tap.channels for tap in spec.taps}
    channels = {name: (own[name], shapes[name][1]) for name, _ in settings.taps or () if settings.maps}
    for name, shape in shapes.items():
        if name != EMBEDDING and len(shape) != 4:
            raise UserError(f"the teacher's part for {name} gives {len(shape)} dimensions, a feature map has 4")
    say(f"teacher: {teacher.name}; {settings.describe()}")
    return replace(lesson, columns=columns, channels=channels)


def _check(teacher: Teacher, recipe: Recipe, settings: Distillation) -> None:
    """Raises UserError for settings that cannot go together."""
    if recipe.tuning is not None and recipe.tuning.freeze == "all":
        raise UserError("a teacher contradicts freeze all, which solves for the classifier: leave one of the two out")
    if settings.looks_inside and teacher.module is None:
        raise UserError(
            f"{teacher.name} gives answers alone; the forms feature, attention and relational look inside a network: "
            "name a run, a bundle's folder or published weights"
        )
    size = settings.resolution
    if size is not None and teacher.sides is not None and size not in teacher.sides:
        raise UserError(f"teacher resolution {size} is out of range: {teacher.name} takes {teacher.sides[0]} pixels")
    if settings.copies:
        augmentation = recipe.augmentation
        for name in ("mixup", "cutmix", "erase"):
            if value := getattr(augmentation, name):
                raise UserError(
                    f"teacher cache contradicts {name} {value:g}, which makes pictures that never come again: set one "
                    "of the two to 0 or leave it out"
                )
        if recipe.progressive < 1:
            raise UserError(
                f"teacher cache contradicts progressive {recipe.progressive:g}, by which a picture comes in several "
                "sizes: leave one of the two out"
            )
        if teacher.sha256 is None:
            raise UserError(f"teacher cache needs a teacher with weights to be told by; {teacher.name} has none")


def _taps(teacher: Teacher, settings: Distillation, spec: Spec) -> tuple[tuple[str, str], ...]:
    """(student's, teacher's) names of the feature maps to compare."""
    if not settings.maps:
        return ()
    own = [tap.name for tap in spec.taps]
    if settings.taps is not None:
        for name, _ in settings.taps:
            if name not in own:
                raise UserError(f"no feature map {name!r} in the student, a {spec.name}; allowed: {', '.join(own)}")
        return settings.taps
    taps = getattr(teacher.module, "taps", None)
    if taps is None:
        raise UserError(f"{teacher.name} has no named taps: --teacher-taps {own[-1]}=NAME says which part is which")
    both = [name for name in TAPS if name in own and name in {tap.name for tap in taps}]
    if not both:
        raise UserError(f"{spec.name} and {teacher.name} share none of the taps {', '.join(TAPS)}: give --teacher-taps")
    return tuple((name, name) for name in both)


def _names(settings: Distillation) -> dict[str, str]:
    """The teacher's place for each of the student's."""
    names = dict(settings.taps or ()) if settings.maps else {}
    return names | ({EMBEDDING: settings.embedding} if settings.relational else {})


@torch.no_grad()
def _try(lesson: Lesson, side: int) -> tuple[Tensor, dict[str, torch.Size]]:
    """The teacher's logits for one grey image, and the shapes of what it shows inside."""
    teacher = lesson.teacher
    size = lesson.settings.resolution or teacher.resolution or side
    parameter = None if teacher.module is None else next(teacher.module.parameters(), None)
    image = torch.zeros(1, 3, size, size, device=None if parameter is None else parameter.device)
    with watched(lesson.places()) as seen:
        try:
            logits = teacher.run(image)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{teacher.name} fails on images (N, 3, {size}, {size}): {reason}") from None
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        raise UserError(f"{teacher.name} does not give logits (N, classes) for images (N, 3, {size}, {size})")
    return logits, {name: value.shape for name, value in seen.items()}


def _columns(teacher: Teacher, logits: Tensor, classes: tuple[ClassLabel, ...]) -> list[int]:
    outputs = logits.shape[1]
    if teacher.labels is not None:
        return map_classes(classes, teacher.labels, teacher.name)
    if outputs != len(classes):
        raise UserError(f"{teacher.name} gives {outputs} outputs without names, the data has {len(classes)} classes")
    return list(range(outputs))
