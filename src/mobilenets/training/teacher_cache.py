"""A teacher's answers to a fixed number of augmented copies of the training images, kept on disk.

With augmentation a picture never comes twice, so there is nothing to cache; here the training goes over K copies of
the images again and again (epoch e takes copy e mod K), and the teacher answers each of them once. A copy is answered
whole, in the order of the images, when it is first needed: what stands in the cache does not depend on what ran before,
so that a training that is killed, or whose cache is lost, ends with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..atomic import replacing, write_text
from ..console import say, warn
from ..data.cache import cache_folder
from ..data.loader import Batch, Loader
from ..digest import digest
from .lesson import Lesson
from .loop import Normaliser

FORMAT = 1
LARGEST = 65504.0  # of float16


def cache_key(lesson: Lesson, loader: Loader, data: str, normalise: Normaliser, *, bfloat16: bool) -> str:
    """What the answers depend on, as 32 hexadecimal digits: teacher, data and its part, augmentation, seed, sizes.

    `data` is the fingerprint of the whole data set.
    """
    names = hashlib.sha256("\n".join(sample.name for sample in loader.images.samples).encode()).hexdigest()
    known: dict[str, Any] = {
        "format": FORMAT,
        "teacher": lesson.teacher.sha256,
        "teacher_resolution": lesson.settings.resolution or lesson.teacher.resolution,
        "teacher_normalisation": [lesson.teacher.mean, lesson.teacher.std],
        "columns": lesson.columns,
        "data": data,
        "samples": names,
        "augmentation": asdict(loader.augmentation),
        "seed": loader.seed,
        "resolution": loader.resolution,
        "stored_side": loader.images.side,
        "batch_size": loader.batch_size,
        "normalisation": [normalise.mean.tolist(), normalise.scale.tolist()],
        "bfloat16": bfloat16,
        "device": normalise.mean.device.type,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


class TeacherCache:
    """Logits float16 (N, C) for each copy of the N training images, less their largest in each row.

    One file for each copy in `folder`, memory-mapped, written whole or not at all, its hash beside it: what is damaged
    is answered again. Where the folder cannot be written the answers stay in memory, and this is printed. `between` is
    called between two batches of answers, and may leave by an exception.
    """

    def __init__(self, folder: Path, loader: Loader, normalise: Normaliser) -> None:
        self.folder, self.loader, self.normalise = folder, loader, normalise
        self.held: dict[int, np.ndarray] = {}
        self.between: Callable[[], None] = lambda: None

    def rows(self, batch: Batch, answers: Callable[[Tensor], Tensor]) -> Tensor:
        """The logits (n, C), float32, of a batch of the loader; `answers` asks the teacher about normalised images."""
        found = self.held.get(batch.draw)
        if found is None:
            found = self.held[batch.draw] = self._open(batch.draw, answers)
        return torch.from_numpy(found[batch.indices.numpy()].astype(np.float32))

    def _open(self, draw: int, answers: Callable[[Tensor], Tensor]) -> np.ndarray:
        path = self.folder / f"{draw}.npy"
        found = _read(path, len(self.loader.images))
        if found is not None:
            return found
        say(f"the teacher answers copy {draw + 1} of {self.loader.copies}: {len(self.loader.images)} images")
        made = self._ask(draw, answers)
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, made)
            write_text(path.with_suffix(".sha256"), digest(path))
        except OSError as error:
            warn(
                f"{self.folder}: the teacher's answers cannot be kept ({error.strerror or error}); they stay in memory"
            )
            return made
        found = _read(path, len(self.loader.images))
        return made if found is None else found

    def _ask(self, draw: int, answers: Callable[[Tensor], Tensor]) -> np.ndarray:
        device = self.normalise.mean.device
        parts = []
        for batch in self.loader.in_order(draw):
            self.between()
            parts.append(rounded(answers(self.normalise(batch.images.to(device)))))
        return np.concatenate(parts)


def rounded(logits: Tensor) -> np.ndarray:
    """Logits (N, C) as they are kept: float16, 0 for the largest in each row, which changes no softmax."""
    shifted = logits - logits.amax(dim=1, keepdim=True)
    return shifted.clamp_min(-LARGEST).cpu().numpy().astype(np.float16)


def cache_path(key: str) -> Path:
    """The folder of the answers under that key; it may not exist yet."""
    return cache_folder() / "teachers" / key


def _read(path: Path, images: int) -> np.ndarray | None:
    """The logits in a file, memory-mapped; None where it is absent, damaged or not for that many images."""
    try:
        if path.with_suffix(".sha256").read_text() != digest(path):
            return None
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found.ndim == 2 and len(found) == images else None
