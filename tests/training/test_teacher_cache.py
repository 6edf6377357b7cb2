"""The cache of a teacher's answers: the same numbers as asking it, and safe against every kind of loss."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying import kill_when
from test_distill import write_run
from test_trainer import SETTINGS, same_run
from torch import Tensor

from mobilenets.api import train
from mobilenets.data.augment import Augmentation
from mobilenets.data.dataset import open_dataset
from mobilenets.data.loader import Batch, Images, Loader
from mobilenets.errors import Terminated
from mobilenets.training import teacher_cache
from mobilenets.training.run import LAST
from mobilenets.training.teacher_cache import TeacherCache, rounded
from owncache import own_cache

CACHED: dict[str, Any] = {**SETTINGS, "teacher_cache": 2, "batch_size": 12}  # 108 images: whole batches
FILES = ["0.npy", "0.sha256", "1.npy", "1.sha256"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("MOBILENETS_CACHE", own_cache(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("teacher") / "run", resolution=32)


@pytest.fixture(scope="module")
def straight(shapes: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Run with a cache that was empty, and the folder of the cache."""
    root = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILENETS_CACHE", own_cache(root / "cache"))
        train(shapes, out=root / "run", teacher=teacher, **CACHED)
    (folder,) = (root / "cache" / "teachers").iterdir()
    return root / "run", folder


def test_a_signal_amid_the_answers_is_obeyed_and_nothing_changes(
    straight: tuple[Path, Path],
    shapes: Path,
    teacher: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, asked = teacher_cache.rounded, 0

    def answered(logits: Tensor) -> np.ndarray:
        nonlocal asked
        asked += 1
        if asked == 12:  # in the second epoch: a copy has nine batches
            os.kill(os.getpid(), signal.SIGTERM)
        return original(logits)

    monkeypatch.setattr(teacher_cache, "rounded", answered)
    with pytest.raises(Terminated):
        train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    assert asked == 12
    monkeypatch.setattr(teacher_cache, "rounded", original)
    train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    same_run(straight[0], tmp_path / "run")


def loader_of(shapes: Path, copies: int | None, seed: int = 0) -> Loader:
    dataset = open_dataset(shapes)
    images = Images(dataset, dataset.of_split("train"), 36)
    return Loader(images, batch_size=16, resolution=32, augmentation=Augmentation(), seed=seed, copies=copies)


def test_copies_come_again_each_epoch_in_its_own_order(shapes: Path) -> None:
    loader = loader_of(shapes, 2)
    first, third = (dict(_pictures(loader.epoch(number))) for number in (0, 2))
    plain = dict(_pictures(loader_of(shapes, None).epoch(2)))
    both = first.keys() & third.keys()
    assert len(both) > 90
    assert all(np.array_equal(first[index], third[index]) for index in both)
    assert not any(np.array_equal(plain[index], third[index]) for index in plain.keys() & third.keys())
    assert list(first) != list(third)
    again = dict(_pictures(loader.in_order(0)))
    assert list(again) == list(range(120))
    assert all(np.array_equal(first[index], again[index]) for index in first)


def _pictures(batches: Any) -> Any:
    for batch in batches:
        yield from zip(batch.indices.tolist(), batch.images.numpy())


def test_rounding_changes_no_softmax_by_more_than_half_precision() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 10
    kept = rounded(logits)
    assert kept.dtype == np.float16
    assert (kept.max(axis=1) == 0).all()
    restored = torch.from_numpy(kept.astype(np.float32))
    torch.testing.assert_close(restored.softmax(1), logits.softmax(1), rtol=2e-2, atol=1e-3)
    assert np.isfinite(rounded(torch.tensor([[0.0, -1e9]]))).all()


def test_cached_answers_are_those_of_a_teacher_that_is_asked(
    straight: tuple[Path, Path],
    shapes: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
) -> None:
    """A teacher that answers each batch as it comes, over the same copies, gives the same Run bit for bit."""
    monkeypatch.setattr(TeacherCache, "rows", _asked)
    train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    assert not cache.exists()
    same_run(straight[0], tmp_path / "run")


def _asked(self: TeacherCache, batch: Batch, answers: Any) -> Tensor:
    return torch.from_numpy(rounded(answers(self.normalise(batch.images))).astype(np.float32))


def test_a_second_training_asks_nothing(
    straight: tuple[Path, Path],
    shapes: Path,
    teacher: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, folder = straight
    assert sorted(path.name for path in folder.iterdir()) == FILES
    shutil.copytree(folder, cache / folder.name)

    def never(*_: Any) -> Any:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(TeacherCache, "_ask", never)
    train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    same_run(run, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "changed", "no hash", "of another size", "no pickle"])
def test_what_is_damaged_is_asked_again(
    straight: tuple[Path, Path], shapes: Path, teacher: Path, tmp_path: Path, cache: Path, damage: str
) -> None:
    run, folder = straight
    copy = shutil.copytree(folder, cache / folder.name)
    path = copy / "1.npy"
    whole = path.read_bytes()
    if damage == "no hash":
        (copy / "1.sha256").unlink()
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    else:
        from mobilenets.digest import digest

        values = np.zeros((3, 3), np.float16) if damage == "of another size" else np.array([{}] * 120)
        np.save(path, values, allow_pickle=True)
        (copy / "1.sha256").write_text(digest(path))
    train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    same_run(run, tmp_path / "run")
    assert path.read_bytes() == whole


def test_where_nothing_can_be_written_the_answers_stay_in_memory(
    straight: tuple[Path, Path],
    shapes: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "file"))
    train(shapes, out=tmp_path / "run", teacher=teacher, **CACHED)
    assert "cannot be kept" in capsys.readouterr().err
    same_run(straight[0], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["0.npy", "0.sha256", LAST])
def test_sigkill_loses_nothing(
    straight: tuple[Path, Path], shapes: Path, teacher: Path, tmp_path: Path, cache: Path, moment: str
) -> None:
    run, folder = straight
    out = tmp_path / "run"
    file = out / moment if moment == LAST else cache / folder.name / moment
    kill_when(file.exists, {"data": str(shapes), "out": str(out), "teacher": str(teacher), **CACHED})
    train(shapes, out=out, teacher=teacher, **CACHED)
    same_run(run, out)


def test_each_thing_that_changes_the_answers_changes_the_key(shapes: Path, teacher: Path) -> None:
    from dataclasses import replace

    from test_distill import lesson_of

    from mobilenets.arch.spec import Preprocessing
    from mobilenets.deploy.teacher import find_teacher
    from mobilenets.training.loop import Normaliser
    from mobilenets.training.teacher_cache import cache_key

    lesson = lesson_of(find_teacher(str(teacher)), soft=0.9, copies=2)
    normalise = Normaliser(Preprocessing(resolution=32), torch.device("cpu"))
    other = Normaliser(Preprocessing(resolution=32, mean=(0.0,) * 3), torch.device("cpu"))
    loader, shifted = loader_of(shapes, 2), loader_of(shapes, 2, seed=1)
    coloured = loader_of(shapes, 2)
    coloured.augmentation = Augmentation(colour=0.1)
    stranger = replace(lesson, teacher=replace(lesson.teacher, sha256="0"))
    larger = replace(lesson, settings=replace(lesson.settings, resolution=64))
    keys = [
        cache_key(lesson, loader, "data", normalise, bfloat16=False),
        cache_key(lesson, loader, "data", normalise, bfloat16=True),
        cache_key(lesson, loader, "other", normalise, bfloat16=False),
        cache_key(lesson, loader, "data", other, bfloat16=False),
        cache_key(lesson, shifted, "data", normalise, bfloat16=False),
        cache_key(lesson, coloured, "data", normalise, bfloat16=False),
        cache_key(stranger, loader, "data", normalise, bfloat16=False),
        cache_key(larger, loader, "data", normalise, bfloat16=False),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == cache_key(lesson, loader_of(shapes, 3), "data", normalise, bfloat16=False)  # more copies add on
