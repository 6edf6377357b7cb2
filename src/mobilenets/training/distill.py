"""The loss of a student: on the labels, and on what its teacher says to the very same pictures.

The teacher sees what the student sees, crop, colour, mixup and all, normalised its own way and at its own resolution:
the "function matching" of Beyer et al. 2022 (Knowledge distillation: a good teacher is patient and consistent).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.loader import Batch, Loader
from ..nn.network import Network
from .distill_losses import attention_loss, feature_loss, hard_loss, relational_loss, soft_loss
from .distillation import EMBEDDING
from .lesson import Lesson
from .loop import LabelLoss, Normaliser
from .teacher import Teacher, find_place, watched
from .teacher_cache import TeacherCache, cache_key, cache_path


@dataclass(frozen=True)
class Told:
    """A teacher's answer to a batch: `logits` (N, classes of the data) and what was watched, by the student's names."""

    logits: Tensor | None
    seen: dict[str, Tensor]


class Distiller:
    """`loss_of` of a training with a teacher. `projections` are trained beside the network and thrown away at the end.

    Of the feature form each tap has a 1x1 convolution from the student's channels to the teacher's.
    """

    def __init__(
        self,
        lesson: Lesson,
        student: Network,
        normalise: Normaliser,
        cache: TeacherCache | None = None,
        label_loss: LabelLoss | None = None,
    ) -> None:
        self.label_loss = label_loss or LabelLoss()
        self.lesson, self.settings, self.cache = lesson, lesson.settings, cache
        self.device = normalise.mean.device
        self.view = TeachersView(lesson.teacher, normalise, lesson.settings.resolution)
        self.columns = torch.tensor(lesson.columns, device=self.device)
        if lesson.teacher.module is not None:
            lesson.teacher.module.to(self.device).eval()
        self.theirs = lesson.places()
        self.own = {name: find_place(student, name, "the student") for name in self.theirs}
        wanted = lesson.channels if self.settings.feature else {}
        self.projections = nn.ModuleDict(
            {name: nn.Conv2d(own, theirs, 1, bias=False) for name, (own, theirs) in wanted.items()}
        ).to(self.device)

    def __call__(self, network: nn.Module, images: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """The loss of normalised images (N, 3, H, W) with targets (N, C); `network` is the student, however wrapped."""
        told = self.ask(images, batch)
        with watched(self.own) as seen:
            logits = network(images)
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(logits.float(), targets, {name: seen[name].float() for name in seen}, told)

    def loss(self, logits: Tensor, targets: Tensor, seen: dict[str, Tensor], told: Told) -> Tensor:
        """The weighted sum of all forms."""
        settings = self.settings
        total = (1 - settings.answers) * self.label_loss.of_logits(logits, targets)
        if told.logits is not None:
            if settings.soft:
                total = total + settings.soft * soft_loss(logits, told.logits, settings.temperature)
            if settings.hard:
                total = total + settings.hard * hard_loss(logits, told.logits)
        if settings.relational:
            own, theirs = _pooled(seen[EMBEDDING]), _pooled(told.seen[EMBEDDING])
            total = total + settings.relational * relational_loss(own, theirs)
        for name, _ in self.settings.taps or ():
            share = 1 / len(self.settings.taps or ())
            if settings.feature:
                projected = self.projections[name](seen[name])
                total = total + share * settings.feature * feature_loss(projected, told.seen[name])
            if settings.attention:
                total = total + share * settings.attention * attention_loss(seen[name], told.seen[name])
        return total

    @torch.no_grad()
    def ask(self, images: Tensor, batch: Batch) -> Told:
        """What the teacher says to the images, or said to them before."""
        if self.cache is not None:
            return Told(self.cache.rows(batch, self.answers).to(self.device), {})
        with watched(self.theirs) as seen:
            logits = self.lesson.teacher.run(self.view(images)).float()
        found = {name: value.detach().float() for name, value in seen.items()}
        return Told(logits[:, self.columns] if self.settings.answers else None, found)

    def answers(self, images: Tensor) -> Tensor:
        """The teacher's logits (N, classes of the data) to normalised images (N, 3, H, W)."""
        return self.lesson.teacher.run(self.view(images)).float()[:, self.columns]


class TeachersView:
    """Images (N, 3, H, W), normalised for the student, as the teacher takes them: its normalisation, its resolution.

    Nothing is computed where both are the same.
    """

    def __init__(self, teacher: Teacher, normalise: Normaliser, resolution: int | None) -> None:
        self.resolution = resolution or teacher.resolution
        self.gain: Tensor | None = None
        if teacher.mean is not None and teacher.std is not None:
            mean, std = (torch.tensor(values, device=normalise.mean.device) for values in (teacher.mean, teacher.std))
            if not (torch.equal(mean, normalise.mean) and torch.equal(1 / std, normalise.scale)):
                self.gain = (1 / (normalise.scale * std)).view(3, 1, 1)
                self.offset = ((normalise.mean - mean) / std).view(3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        if self.gain is not None:
            images = images * self.gain + self.offset
        if self.resolution is not None and images.shape[2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images


def _pooled(embedding: Tensor) -> Tensor:
    """(N, D) of (N, D) or of a map (N, D, H, W)."""
    return embedding if embedding.ndim == 2 else embedding.flatten(2).mean(2)


def make_distiller(
    lesson: Lesson,
    student: Network,
    loader: Loader,
    normalise: Normaliser,
    label_loss: LabelLoss,
    fingerprint: str,
    *,
    bfloat16: bool,
) -> Distiller:
    """The Distiller of a Run, its answers cached where the images come in a fixed number of copies.

    `fingerprint` is that of the data.
    """
    cache = None
    if loader.copies is not None:
        key = cache_key(lesson, loader, fingerprint, normalise, bfloat16=bfloat16)
        cache = TeacherCache(cache_path(key), loader, normalise)
    return Distiller(lesson, student, normalise, cache, label_loss)
