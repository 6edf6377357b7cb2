"""The fingerprint changes with whatever training would notice, and with nothing else."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilenets.data.dataset import open_dataset
from mobilenets.data.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path: Path, write_images: Callable[..., Path]) -> Path:
    return write_images(
        tmp_path / "set", [f"{split}/{k}/{i}.png" for split in ("train", "val") for k in "ab" for i in "12"]
    )


def test_the_same_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    mark = fingerprint(open_dataset(folder))
    assert len(mark) == 64
    assert fingerprint(open_dataset(shutil.copytree(folder, tmp_path / "copy"))) == mark
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder).as_posix())
    assert fingerprint(open_dataset(tmp_path / "set.zip")) == mark
    (folder / "README.md").write_text("about")
    assert fingerprint(open_dataset(folder)) == mark


def test_another_with_any_change(folder: Path) -> None:
    marks = {fingerprint(open_dataset(folder))}
    changes: list[Callable[[], object]] = [
        lambda: (folder / "train/a/1.png").write_bytes((folder / "train/a/1.png").read_bytes() + b"\0"),
        lambda: (folder / "train/a/1.png").rename(folder / "train/a/3.png"),
        lambda: (folder / "train/a/3.png").rename(folder / "train/b/3.png"),
        lambda: (folder / "train/b/3.png").rename(folder / "val/b/3.png"),
        lambda: (folder / "val/b/3.png").unlink(),
        lambda: [(folder / split / "a").rename(folder / split / "aa") for split in ("train", "val")],
    ]
    for change in changes:
        change()
        marks.add(fingerprint(open_dataset(folder)))
    assert len(marks) == len(changes) + 1
