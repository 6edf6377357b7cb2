"""Who trains, selects and is reported: disjoint, stratified, whole groups, the same for the same seed."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.dataset import Dataset, open_dataset
from mobilenets.data.groups import find_groups
from mobilenets.data.records import Sample
from mobilenets.data.roles import Roles, hold_out, roles
from mobilenets.errors import UserError

Write = Callable[..., Path]


def check_parts(dataset: Dataset, parts: Roles) -> None:
    """Disjoint, complete, and every class that is measured is trained on."""
    names = [sample.name for sample in (*parts.train, *parts.selection, *parts.report)]
    assert len(names) == len(set(names)) == len(dataset.samples)
    trained = {sample.label for sample in parts.train}
    assert {sample.label for sample in dataset.samples} == trained


def names_of(root: Path, splits: list[str], classes: int = 3, images: int = 20) -> list[str]:
    return [f"{split}/{k}/{i}.png".lstrip("/") for split in splits for k in range(classes) for i in range(images)]


def test_three_splits_are_taken_as_they_are(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, ["train", "val", "test"], images=4)))
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert (parts.train, parts.selection, parts.report) == tuple(map(dataset.of_split, ("train", "val", "test")))
    assert parts.report_name == "test"
    assert parts.notes == ("selection: the val split, 12 images", "report: the test split, 12 images")


@pytest.mark.parametrize("other", ["val", "test"])
def test_two_splits_report_the_other_and_select_from_train(tmp_path: Path, write_images: Write, other: str) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, ["train", other])))
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert parts.report == dataset.of_split(other)
    assert parts.report_name == other
    assert collections.Counter(sample.label for sample in parts.selection) == {0: 2, 1: 2, 2: 2}
    assert {sample.split for sample in parts.selection} == {"train"}
    assert "selection: 6 of 60 training images (10%), by class and in 6 whole groups" in parts.notes


def test_one_folder_holds_out_the_report_first(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, [""])))
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert collections.Counter(sample.label for sample in parts.report) == {0: 3, 1: 3, 2: 3}
    assert collections.Counter(sample.label for sample in parts.selection) == {0: 2, 1: 2, 2: 2}
    assert parts.report_name == "test"


def test_only_one_split_is_divided_as_one_folder(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, ["train"])))
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert len(parts.report) == 9


def test_the_seed_decides(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, [""])))
    assert roles(dataset, seed=3) == roles(dataset, seed=3)
    assert roles(dataset, seed=3).report != roles(dataset, seed=4).report


def test_a_class_to_measure_but_not_to_train_on_is_refused(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"])
    with pytest.raises(UserError, match="'c'"):
        roles(open_dataset(tmp_path))


def test_copies_stay_together(tmp_path: Path, picture_of: Callable[..., np.ndarray]) -> None:
    """Each picture lies there whole, mirrored and darker, under names that say nothing."""
    rng = np.random.default_rng(0)
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        names = [f"{i:03}.png" for i in rng.permutation(60)]
        for seed in range(20):
            image = picture_of(1000 * k + seed, 64)
            for copy in (image, image[:, ::-1], (image * 0.8).astype(np.uint8)):
                cv2.imwrite(str(tmp_path / str(k) / names.pop()), np.ascontiguousarray(copy))
    dataset = open_dataset(tmp_path)
    groups = find_groups(dataset, dataset.samples)
    assert groups.count == 40
    assert (np.bincount(groups.ids)[np.unique(groups.ids)] == 3).all()
    parts = roles(dataset)
    check_parts(dataset, parts)
    role = {s.name: i for i, part in enumerate((parts.train, parts.selection, parts.report)) for s in part}
    for group in np.unique(groups.ids):
        members = np.flatnonzero(groups.ids == group)
        assert len({role[dataset.samples[i].name] for i in members}) == 1
    assert [len(part) for part in (parts.selection, parts.report)] == [12, 18]


def test_stated_groups_win(tmp_path: Path, write_images: Write) -> None:
    names = [f"{k}/clip1_frame_{i}.png" for k in "ab" for i in range(20)]
    write_images(tmp_path, names)
    rows = "".join(f"{name},person {i % 10}\n" for i, name in enumerate(names))
    (tmp_path / "people.csv").write_text("file,group\n" + rows)
    dataset = open_dataset(tmp_path)
    groups = find_groups(dataset, dataset.samples)
    assert groups.notes == ("10 groups stated by the data",)
    parts = roles(dataset)
    people = [{sample.group for sample in part} for part in (parts.train, parts.selection, parts.report)]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert people[1]
    assert people[2]


def test_names_that_would_lump_a_class_are_not_believed_there(tmp_path: Path, write_images: Write) -> None:
    """Class a is one clip altogether; class b has five clips."""
    names = [f"a/walk_mp4-{i}.png" for i in range(30)] + [f"b/run{i // 6}_mp4-{i}.png" for i in range(30)]
    dataset = open_dataset(write_images(tmp_path, names))
    groups = find_groups(dataset, dataset.samples)
    assert groups.count == 5
    assert "file names suggest one clip for most of a: not believed there" in groups.notes
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert {sample.label for sample in parts.selection} == {0, 1}


def test_a_series_is_believed_where_its_pictures_agree(tmp_path: Path, picture_of: Callable[..., np.ndarray]) -> None:
    """garden-N are dim green pictures of their own; mixed-N are taken from the same stock as the rest."""
    folder = tmp_path / "a"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        noise = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        name = f"x{i * 7919}q.png"
        if i < 15:
            noise, name = (noise * (0.3, 0.9, 0.2)).astype(np.uint8), f"garden-{i}.png"
        elif i < 35:
            name = f"mixed-{i}.png"
        cv2.imwrite(str(folder / name), cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC))
    (tmp_path / "b").mkdir()
    cv2.imwrite(str(tmp_path / "b/only.png"), picture_of(5))
    dataset = open_dataset(tmp_path)
    groups = find_groups(dataset, dataset.samples)
    by_name = {sample.name.split("/")[1]: int(group) for sample, group in zip(dataset.samples, groups.ids)}
    assert len({by_name[f"garden-{i}.png"] for i in range(15)}) == 1
    assert len({by_name[f"mixed-{i}.png"] for i in range(15, 35)}) == 20


def test_a_fixed_camera_does_not_lump_everything(tmp_path: Path, picture_of: Callable[..., np.ndarray]) -> None:
    """All pictures are near-duplicates of one scene; the tolerance shrinks until they fall apart."""
    scene = picture_of(1, 64).astype(int)
    rng = np.random.default_rng(0)
    for k in "ab":
        (tmp_path / k).mkdir()
        for i in range(40):
            spot = np.zeros((64, 64, 3))
            cv2.circle(spot, tuple(rng.integers(8, 56, 2).tolist()), 4, (60, -60, 60), -1)
            image = np.clip(scene + spot + rng.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / k / f"{i * 37 % 40}q.png"), image)
    dataset = open_dataset(tmp_path)
    groups = find_groups(dataset, dataset.samples)
    assert any("look alike" in note for note in groups.notes)
    parts = roles(dataset)
    check_parts(dataset, parts)
    assert len(parts.report) >= 8


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_hold_out_keeps_its_promises(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 80))
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    ids = np.array(data.draw(st.lists(st.integers(0, 30), min_size=count, max_size=count)))
    fraction = data.draw(st.sampled_from([0.0, 0.1, 0.15, 0.5]))
    seed = data.draw(st.integers(0, 5))
    held = hold_out(labels, ids, fraction, np.random.default_rng(seed))
    assert np.array_equal(held, hold_out(labels, ids, fraction, np.random.default_rng(seed)))
    for label in np.unique(labels):
        mine = labels == label
        assert held[mine].sum() < mine.sum()  # something is left to train on
        if mine.sum() >= 5 and fraction > 0:
            assert held[mine].sum() >= 1
    if fraction == 0:
        assert not held.any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.sampled_from([0.1, 0.2]))
def test_many_small_groups_are_never_divided_and_shares_are_met(seed: int, size: int, fraction: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 60 * size)
    ids = np.arange(len(labels)) // size
    held = hold_out(labels, ids, fraction, rng)
    assert all(len(set(held[ids == group])) == 1 for group in np.unique(ids))
    for label in range(4):
        assert abs(held[labels == label].mean() - fraction) < 0.02


def test_hands_are_selected_by_whole_clips_and_sittings(shared: Path) -> None:
    dataset = open_dataset(shared / "data/rps_hands")
    train = dataset.of_split("train")
    groups = find_groups(dataset, train)
    of = {sample.name: int(group) for sample, group in zip(train, groups.ids)}
    for seed in range(3):
        parts = roles(dataset, seed)
        check_parts(dataset, parts)
        assert parts.report == dataset.of_split("val")
        assert not {of[s.name] for s in parts.train} & {of[s.name] for s in parts.selection}
        assert 0.08 < len(parts.selection) / len(train) < 0.13
        assert len({of[s.name] for s in parts.selection}) >= 8
        assert len({sample.label for sample in parts.selection}) == 3
    frames = [s.name for s in train if "IMG_7079_MOV" in s.name or "_0246_png" in s.name]
    assert len({of[name] for name in frames}) == 1


def test_sample_order_is_kept(tmp_path: Path, write_images: Write) -> None:
    dataset = open_dataset(write_images(tmp_path, names_of(tmp_path, [""])))
    order = {sample: i for i, sample in enumerate(dataset.samples)}

    def sorted_by_order(part: tuple[Sample, ...]) -> bool:
        return [order[s] for s in part] == sorted(order[s] for s in part)

    parts = roles(dataset)
    assert all(map(sorted_by_order, (parts.train, parts.selection, parts.report)))
