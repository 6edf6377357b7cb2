"""The shared real sets, opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from described import counts, refusal

from mobilenets.data.dataset import ClassLabel, open_dataset


def test_rps_hands(shared: Path) -> None:
    dataset = open_dataset(shared / "data/rps_hands")
    assert counts(dataset) == {
        ("train", "paper"): 553, ("train", "rock"): 740, ("train", "scissors"): 584,
        ("val", "paper"): 162, ("val", "rock"): 181, ("val", "scissors"): 127,
    }  # fmt: skip
    assert (dataset.form, dataset.splits) == ("folders", ("train", "val"))


def test_cifar10_in_its_zip_and_in_the_folder_around_it(shared: Path) -> None:
    folder = open_dataset(shared / "data/cifar10_jpg")
    dataset = open_dataset(shared / "data/cifar10_jpg/cifar10_jpg.zip")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert [label.name for label in dataset.classes] == names
    expected = {("train", name): 1000 for name in names} | {("test", name): 200 for name in names}
    assert counts(dataset) == counts(folder) == expected
    assert dataset.read(dataset.samples[7])[:3] == b"\xff\xd8\xff"
    assert "cifar10_jpg.zip" in folder.notes[0]


def test_grocery_fine_and_coarse(shared: Path) -> None:
    fine = open_dataset(shared / "data/grocery_fine")
    coarse = open_dataset(shared / "data/grocery_fine", labels="coarse")
    for dataset, classes in ((fine, 81), (coarse, 43)):
        assert dataset.form == "lists"
        assert len(dataset.classes) == classes
        assert [len(dataset.of_split(split)) for split in ("train", "val", "test")] == [972, 180, 324]
    assert fine.classes[0].name == "Golden-Delicious"
    assert len({sample.label for sample in fine.of_split("val")}) == 60
    assert {coarse.classes[s.label].name for s in coarse.samples if "/Apple/" in s.name} == {"Apple"}


def test_smiles_reads_the_same_from_folders_and_from_its_csv(shared: Path) -> None:
    folders = open_dataset(shared / "data/smiles_faces")
    table = open_dataset(shared / "data/smiles_faces/labels.csv")
    column = open_dataset(shared / "data/smiles_faces", labels="smiling")
    assert (folders.form, table.form, column.form) == ("folders", "csv", "csv")
    assert [label.name for label in folders.classes] == ["nosmile", "smile"]
    assert [label.name for label in table.classes] == ["not smiling", "smiling"]
    assert set(folders.samples) == set(table.samples) == set(column.samples)
    assert sorted(counts(folders).values()) == [199, 200, 200, 200, 799, 800]
    assert any("labels='smiling'" in note for note in folders.notes)


def test_orl_faces_has_no_split(shared: Path) -> None:
    dataset = open_dataset(shared / "data/orl_faces")
    assert set(counts(dataset).values()) == {10}
    assert (len(dataset.classes), dataset.splits) == (40, ())


def test_imagenet_samples_keep_index_and_wnid(shared: Path) -> None:
    dataset = open_dataset(shared / "data/imagenet_samples_even")
    assert (len(dataset.samples), len(dataset.classes)) == (500, 500)
    assert dataset.classes[1] == ClassLabel("great white shark", 2, "n01484850")
    indices = [label.index or 0 for label in dataset.classes]
    assert indices == sorted(indices) == list(range(0, 1000, 2))


@pytest.mark.parametrize(
    ("name", "says"),
    [("geo_photos", "lat, lon"), ("camvid_seg", "0001TP_008550"), ("video", "no image"), ("bccd_voc", "JPEGImages")],
)
def test_sets_for_other_tasks_are_refused_with_the_reason(shared: Path, name: str, says: str) -> None:
    assert says in refusal(shared / "data" / name)
