"""Every kind of problem is found, by its name and file, and none ends the check."""

from __future__ import annotations

import collections
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.data.check import Report, check
from mobilenets.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def clean(tmp_path: Path, write_images: Write) -> Path:
    """Two classes of twelve different pictures in train and three in val: nothing is wrong."""
    names = [
        f"{split}/{k}/{k}{i * 7919}q.png" for split, n in (("train", 12), ("val", 3)) for k in "ab" for i in range(n)
    ]
    return write_images(tmp_path / "set", names)


def found(report: Report) -> dict[str, list[str]]:
    """Files (or classes) by kind."""
    kinds = collections.defaultdict(list)
    for problem in report.problems:
        kinds[problem.kind].append(problem.file or problem.label or "")
    return dict(kinds)


def test_nothing_wrong(clean: Path) -> None:
    report = check(clean)
    assert report.problems == ()
    assert report.ok
    assert report.per_class == {"a": {"train": 12, "val": 3}, "b": {"train": 12, "val": 3}}
    value = json.loads(json.dumps(report.to_json()))
    assert (value["images"], value["classes"], value["ok"], value["problems"]) == (30, 2, True, [])
    assert value["per_class"][1] == {"label": "b", "train": 12, "val": 3}


def test_damaged_files(clean: Path, png_of: Callable[..., bytes]) -> None:
    folder = clean / "train/a"
    whole = png_of(500)
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))[1].tobytes()
    broken = bytearray(whole)
    broken[60] ^= 0xFF
    huge = bytearray(whole)
    huge[16:24] = b"\0\1\0\0\0\1\0\0"  # 65536 x 65536
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    contents = {
        "empty": b"", "text": b"I am a text file\n" * 9, "cut": jpeg[:-200], "cut2": whole[:-30],
        "broken": bytes(broken), "huge": bytes(huge),
    }  # fmt: skip
    for name, data in contents.items():
        (folder / f"{name}.jpg").write_bytes(data)
    (folder / "notes.txt").write_text("fine")
    (folder / "movie.mov").write_bytes(b"x")
    report = check(clean)
    assert not report.ok
    assert found(report) == {
        "truncated": ["train/a/cut.jpg", "train/a/cut2.jpg"],
        "unreadable": ["train/a/broken.jpg"],
        "empty": ["train/a/empty.jpg"],
        "not_an_image": ["train/a/text.jpg"],
        "too_large": ["train/a/huge.jpg"],
        "other_file": ["train/a/movie.mov"],
    }
    severities = {problem.kind: problem.severity for problem in report.problems}
    assert [kind for kind, severity in severities.items() if severity == "warning"] == ["other_file"]
    assert (report.errors, len(report.problems)) == (6, 7)
    assert report.problems[-1].kind == "other_file"  # errors come first


def test_the_same_bytes_again(clean: Path) -> None:
    source = clean / "train/a/a0q.png"
    shutil.copy(source, clean / "train/a/copy.png")
    assert found(check(clean)) == {"exact_duplicate": ["train/a/a0q.png"]}
    assert check(clean).ok
    shutil.copy(source, clean / "val/a/copy.png")
    report = check(clean)
    assert found(report) == {"duplicate_across_splits": ["train/a/a0q.png"]}
    assert not report.ok
    assert report.problems[0].files == ("train/a/copy.png", "val/a/copy.png")
    assert report.problems[0].message == "the same bytes in train (2) and val (1)"
    shutil.copy(source, clean / "train/b/copy.png")
    assert set(found(check(clean))) == {"duplicate_across_splits", "duplicate_across_classes"}


def test_nearly_the_same_picture_again(clean: Path, picture_of: Callable[..., np.ndarray]) -> None:
    image = picture_of(0)  # the first picture of the set, RGB
    mirrored = np.ascontiguousarray(image[:, ::-1, ::-1])
    cv2.imwrite(str(clean / "train/a/mirrored.png"), mirrored)
    assert found(check(clean)) == {"near_duplicate": ["train/a/a0q.png"]}
    cv2.imwrite(str(clean / "val/a/mirrored.jpg"), mirrored)
    report = check(clean)
    assert found(report) == {"near_duplicate_across_splits": ["train/a/a0q.png"]}
    assert report.ok
    assert report.problems[0].count == 3
    cv2.imwrite(str(clean / "val/b/smaller.png"), cv2.resize(image[..., ::-1], (40, 40), interpolation=cv2.INTER_AREA))
    assert set(found(check(clean))) == {"near_duplicate_across_splits", "near_duplicate_across_classes"}


def test_exact_copies_are_not_near_duplicates_too(clean: Path) -> None:
    for i in range(3):
        shutil.copy(clean / "train/a/a0q.png", clean / f"train/a/copy{i}.png")
    report = check(clean)
    assert found(report) == {"exact_duplicate": ["train/a/a0q.png"]}
    assert report.problems[0].count == 4


def test_frames_of_one_clip_in_two_splits(clean: Path, write_images: Write) -> None:
    write_images(clean, ["train/a/walk_mp4-1.png", "train/a/walk_mp4-2.png", "val/a/walk_mp4-3.png"], first_seed=700)
    report = check(clean)
    assert found(report) == {"clip_across_splits": ["train/a/walk_mp4-1.png"]}
    assert report.problems[0].message == "frames of one clip (walk_mp4) in train (2) and val (1)"
    assert report.ok


def test_a_stated_group_in_two_splits(clean: Path) -> None:
    (clean / "people.csv").write_text("file,group\ntrain/a/a0q.png,anna\nval/b/b0q.png,anna\ntrain/b/b0q.png,ben\n")
    report = check(clean)
    assert found(report) == {"group_across_splits": ["train/a/a0q.png"]}
    assert not report.ok


def test_classes(clean: Path, write_images: Write) -> None:
    (clean / "train/c").mkdir()
    write_images(clean, ["train/d/1q.png", "val/d/2q.png", "val/e/1q.png"], first_seed=800)
    report = check(clean)
    assert found(report) == {
        "class_without_images": ["train/c"],
        "class_without_training_images": ["e"],
        "few_images": ["d"],
        "imbalance": ["d"],
    }
    assert report.errors == 2


def test_one_class(tmp_path: Path, write_images: Write) -> None:
    report = check(write_images(tmp_path, [f"a/{i * 7919}q.png" for i in range(12)]))
    assert found(report) == {"one_class": ["a"]}


def test_rows_without_a_file(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, [f"{i}.png" for i in range(22)])
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(24))
    (tmp_path / "labels.csv").write_text("file,label\n" + rows)
    report = check(tmp_path)
    assert found(report) == {"missing": ["22.png", "23.png"]}
    assert report.images == 24


def test_a_file_that_vanishes_or_may_not_be_read(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilenets.data.sources import FolderFiles

    read = FolderFiles.read

    def guarded(self: FolderFiles, name: str) -> bytes:
        if name == "train/a/a0q.png":
            raise PermissionError(13, "Permission denied", name)
        return read(self, name)

    monkeypatch.setattr(FolderFiles, "read", guarded)
    report = check(clean)
    assert found(report) == {"unreadable": ["train/a/a0q.png"]}
    assert "Permission denied" in report.problems[0].message


def test_what_cannot_be_understood_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        check(tmp_path)


def test_shared_hands_are_divided_by_their_splits(shared: Path) -> None:
    """The published split puts copies of one source picture, and pictures of one sitting, on both sides."""
    report = check(shared / "data/rps_hands")
    kinds = collections.Counter(problem.kind for problem in report.problems)
    assert set(kinds) == {"near_duplicate", "near_duplicate_across_splits", "clip_across_splits"}
    assert kinds["near_duplicate_across_splits"] > 40
    copies = [p for p in report.problems if p.message.startswith("copies of one source picture")]
    assert len(copies) == 54
    assert report.ok


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("smiles_faces", {"near_duplicate", "near_duplicate_across_splits"}), ("grocery_fine", {"near_duplicate"})],
)
def test_shared_sets(shared: Path, name: str, kinds: set[str]) -> None:
    report = check(shared / "data" / name)
    assert report.ok
    assert {problem.kind for problem in report.problems} == kinds
