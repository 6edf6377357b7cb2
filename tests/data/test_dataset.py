"""Class folders: which form is recognised, what is said of it, and what is refused; reading in parallel."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
from described import WORD, NamesOnly, Write, counts, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.dataset import ClassLabel, open_dataset
from mobilenets.data.folders import read_folders


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "testing"), ("train", "validation", "Test")],
)
def test_split_names(tmp_path: Path, write_images: Write, train: str, val: str, test: str) -> None:
    names = [f"{split}/{kind}/{i}.png" for split in (train, val, test) for kind in "ab" for i in range(2)]
    dataset = open_dataset(write_images(tmp_path, names))
    assert counts(dataset) == {(split, kind): 2 for split in ("train", "val", "test") for kind in "ab"}


def test_deepest_folder_is_the_class_and_shared_names_carry_their_path(tmp_path: Path, write_images: Write) -> None:
    paths = ["Fruit/Apple/red", "Fruit/Apple/green", "Fruit/Pear/red", "Fruit/Lime", "Milk/red"]
    names = [f"{split}/{path}/1.png" for split in ("train", "val") for path in paths]
    dataset = open_dataset(write_images(tmp_path, names))
    assert [c.name for c in dataset.classes] == ["Fruit/Apple/red", "Fruit/Pear/red", "Lime", "Milk/red", "green"]
    assert set(counts(dataset).values()) == {1}
    assert dataset.splits == ("train", "val")


def test_wrapping_folders_are_no_part_of_names(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["set/images/train/x/a.png", "set/images/train/y/a.png", "set/images/test/x/b.png"])
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {("train", "x"): 1, ("train", "y"): 1, ("test", "x"): 1}


def test_split_below_the_class(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["cat/train/1.png", "cat/test/2.png", "dog/train/1.png", "dog/test/2.png"])
    assert counts(open_dataset(tmp_path)) == {
        (split, kind): 1 for split in ("train", "test") for kind in ("cat", "dog")
    }


def test_a_class_called_train(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["bus/1.png", "car/1.png", "train/1.png"])
    assert [label.name for label in open_dataset(tmp_path).classes] == ["bus", "car", "train"]


def test_folders_beside_the_splits_are_left_out_and_said(tmp_path: Path, write_images: Write) -> None:
    write_images(
        tmp_path, ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "extra/1.png", "extra/c/1.png"]
    )
    dataset = open_dataset(tmp_path)
    assert len(dataset.samples) == 4
    assert any("extra" in note for note in dataset.notes)


def test_clutter_is_no_data(tmp_path: Path, write_images: Write) -> None:
    write_images(
        tmp_path, ["a/1.png", "b/1.png", "a/.hidden.png", ".git/x/1.png", "__MACOSX/a/._1.png", "b/.DS_Store.png"]
    )
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "a/Thumbs.db").write_bytes(b"x")
    assert sorted(sample.name for sample in open_dataset(tmp_path).samples) == ["a/1.png", "b/1.png"]


def test_wnid_folders_are_recognised(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["n01440764/1.png", "n01484850/1.png"])
    assert open_dataset(tmp_path).classes[0] == ClassLabel("n01440764", None, "n01440764")


def test_links_are_followed_and_loops_are_not(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "store", ["cats/1.png"])
    root = write_images(tmp_path / "set", ["dog/1.png"])
    os.symlink(tmp_path / "store/cats", root / "cat")
    os.symlink(root, root / "dog/loop")
    os.symlink(tmp_path / "nowhere", root / "dog/broken.txt")
    assert counts(open_dataset(root)) == {(None, "cat"): 1, (None, "dog"): 1}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=12))
def test_any_tree_reads_the_same_in_any_order_and_each_image_once(paths: list[list[str]]) -> None:
    names = sorted({"/".join(path) + "/1.png" for path in paths})
    dataset = read_folders(Path("set"), NamesOnly(names))
    again = read_folders(Path("set"), NamesOnly(names[::-1]))
    assert dataset == again
    if dataset is not None:
        found = [sample.name for sample in dataset.samples]
        assert len(found) == len(set(found))
        assert set(found) <= set(names)
        assert {sample.label for sample in dataset.samples} == set(range(len(dataset.classes)))
        assert len({label.name for label in dataset.classes}) == len(dataset.classes)


def test_wrong_path_names_the_near_miss(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "flowers", ["a/1.png"])
    assert "'flowers'" in refusal(tmp_path / "flower")
    assert "'rock_paper_scissors'" in refusal("rock_paper_scissor")


def test_empty_folder(tmp_path: Path) -> None:
    assert "it is empty" in refusal(tmp_path)


def test_images_in_no_class_folder(tmp_path: Path, write_images: Write) -> None:
    assert "2 images in no class folder" in refusal(write_images(tmp_path, ["1.png", "2.png"]))


def test_one_class_and_a_class_without_images(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["cat/1.png"])
    assert "'cat'" in refusal(tmp_path)
    (tmp_path / "dog").mkdir()
    assert "dog: none" in refusal(tmp_path)
    write_images(tmp_path, ["cow/1.png"])
    assert "'dog'" in refusal(tmp_path)
    (tmp_path / "dog/photo.heic").write_bytes(b"x")
    assert "'dog'" in refusal(tmp_path)
    assert open_dataset(tmp_path, strict=False).empty == ("dog",)


def test_a_class_absent_from_one_split_is_no_mistake(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["train/a/1.png", "train/b/1.png", "val/a/1.png"])
    (tmp_path / "val/b").mkdir()
    assert len(open_dataset(tmp_path).samples) == 3


def test_a_file_that_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x01" * 50)
    assert "neither a folder" in refusal(tmp_path / "model.onnx")


def test_hands_are_rendered_where_no_such_path_exists(
    tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = write_images(tmp_path / "made", ["train/paper/1.png", "train/rock/1.png", "test/rock/2.png"])
    monkeypatch.setattr("mobilenets.data.hands.prepare", lambda: made)
    assert open_dataset("hands").root == made
    write_images(tmp_path / "hands", ["a/1.png", "b/1.png"])
    assert [label.name for label in open_dataset("hands").classes] == ["a", "b"]


def test_threads_and_pickles_read_the_same_bytes(shared: Path) -> None:
    dataset = open_dataset(shared / "data/cifar10_jpg")
    samples = dataset.samples[::60]
    expected = [dataset.read(sample) for sample in samples]
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append([dataset.read(s) for s in samples])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copy = pickle.loads(pickle.dumps(dataset))
    assert [copy.read(sample) for sample in samples] == expected
    assert found == [expected] * 4
