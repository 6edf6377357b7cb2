"""Every form of labelled images opens as it lies there, and every mistake is one line that names it."""

from __future__ import annotations

import collections
import csv
import io
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.dataset import ClassLabel, Dataset, open_dataset
from mobilenets.data.folders import read_folders
from mobilenets.data.lists import read_lists
from mobilenets.data.tables import find_tables, read_labelled
from mobilenets.errors import UserError

Write = Callable[..., Path]


def counts(dataset: Dataset) -> dict[tuple[str | None, str], int]:
    """Images per (split, class name)."""
    return dict(collections.Counter((s.split, dataset.classes[s.label].name) for s in dataset.samples))


def refusal(path: Path | str, labels: str | None = None) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(UserError) as caught:
        open_dataset(path, labels=labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- the shared sets


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


# ------------------------------------------------------------------------------------------------------ class folders


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


class NamesOnly:
    """Files of which only the names are known."""

    def __init__(self, names: list[str]) -> None:
        self.names = tuple(sorted(names))
        self.folders = tuple(sorted({name[:i] for name in names for i, c in enumerate(name) if c == "/"}))

    def read(self, name: str) -> bytes:
        raise FileNotFoundError(name)

    def size(self, name: str) -> int:
        return 0


class InMemory(NamesOnly):
    """Text files in memory, and images of which only the names are known."""

    def __init__(self, texts: dict[str, str], images: list[str]) -> None:
        super().__init__([*texts, *images])
        self.texts = texts

    def read(self, name: str) -> bytes:
        return self.texts[name].encode()


WORD = st.sampled_from(["a", "b", "c", "red", "train", "val", "test", "images"])


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


# ------------------------------------------------------------------------------------------------------------ mistakes


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


# ---------------------------------------------------------------------------------------------------------- lists, CSV


@pytest.mark.parametrize("line", ["{}, {}, 9", "{},{},9", "{} {} 9", "{}\t{}\t9", "  {} ,  {} , 9  "])
def test_list_separators_and_spaces_in_paths(tmp_path: Path, write_images: Write, line: str) -> None:
    names = ["x/my cat 1.png", "x/b.png"]
    write_images(tmp_path, names)
    (tmp_path / "train.txt").write_text("\n".join(line.format(name, i) for i, name in enumerate(names)) + "\n\n# end\n")
    dataset = open_dataset(tmp_path)
    assert [(sample.name, sample.label, sample.split) for sample in dataset.samples] == [
        (names[0], 0, "train"), (names[1], 1, "train"),
    ]  # fmt: skip
    assert dataset.classes == (ClassLabel("0", 0), ClassLabel("1", 1))


def test_list_with_names_for_ids(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "train.txt").write_text("1.png, big dog\n2.png, cat\n")
    assert [label.name for label in open_dataset(tmp_path).classes] == ["big dog", "cat"]


def test_list_mistakes_name_the_line(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "classes.csv").write_text("Class Name (str),Class ID (int)\ncat,0\ndog,1\n")
    lists = tmp_path / "train.txt"
    for text, says in [
        ("1.png, 0\n2.png, 7\n", "train.txt:2: class id 7; classes.csv has ids 0 to 1"),
        ("1.png, 0\n2.png, -1\n", "train.txt:2: class id -1"),
        ("1.png, 0\n2.png, cow\n", "train.txt:2: label 'cow' is not in classes.csv"),
        ("1.png, 0\n2.png\n", "train.txt:2: expected 'path of an image, class id'"),
        ("1.png, 0\n3.png, 1\n", "the first is 3.png"),
        ("1.png, 0\n../2.png, 1\n", "not a path inside the data folder"),
        ("1.png, 0\n/etc/2.png, 1\n", "not a path inside the data folder"),
        ("1.png, 0\n2.png, 0\n", "only one class has images, 'cat'"),
        ("1.png, 0\n1.png, 1\n", "1.png is named twice"),
    ]:
        lists.write_text(text)
        assert says in refusal(tmp_path), text
    lists.write_bytes(b"\xff\xfe1\0.\0")
    assert "not UTF-8" in refusal(tmp_path)
    lists.write_text("1.png, 0\n2.png, 1\n")
    assert "no coarse label" in refusal(tmp_path, labels="coarse")
    assert "'medium'" in refusal(tmp_path, labels="medium")


def test_class_tables_that_contradict_themselves(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "train.txt").write_text("1.png, 0\n2.png, 1\n")
    for text, says in [
        ("name,id\ncat,0\ndog,0\n", "class id 0"),
        ("name,id\ncat,zero\n", "classes.csv:2"),
        ("breed,id\ncat,0\n", "no column 'name'"),
        ("name,id\n", "names no class"),
    ]:
        (tmp_path / "classes.csv").write_text(text)
        assert says in refusal(tmp_path), text


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_every_column(tmp_path: Path, write_images: Write, delimiter: str) -> None:
    write_images(tmp_path, ["p/1.png", "p/2.png", "p/3.png"])
    rows = [
        ["filename", "label", "index", "wnid", "subset", "group"],
        ["p/1.png", "tench", "0", "n01440764", "training", "g1"],
        ["p\\2.png", "crane", "517", "n03126707", "valid", ""],
        ["./p/3.png", "crane", "134", "n02012849", "test", "g2"],
    ]
    (tmp_path / "anything.csv").write_text("\ufeff" + "\n".join(map(delimiter.join, rows)), encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert dataset.classes == (
        ClassLabel("tench", 0, "n01440764"),
        ClassLabel("crane", 134, "n02012849"),
        ClassLabel("crane", 517, "n03126707"),
    )
    assert [(s.name, s.label, s.split, s.group) for s in dataset.samples] == [
        ("p/1.png", 0, "train", "g1"), ("p/2.png", 2, "val", None), ("p/3.png", 1, "test", "g2"),
    ]  # fmt: skip


def test_csv_mistakes_name_the_line(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    table = tmp_path / "labels.csv"
    for text, says in [
        ("file,label\n1.png,a\n2.png\n", "labels.csv:3: 1 cells; the header has 2"),
        ("file,label\n1.png,a\n2.png,\n", "labels.csv:3: no label"),
        ("file,index\n1.png,0\n2.png,-3\n", "labels.csv:3: index '-3'"),
        ("file,index,label\n1.png,0,a\n2.png,0,b\n", "labels.csv:3: index 0, label b disagrees"),
        ("file,label,split\n1.png,a,train\n2.png,b,holdout\n", "labels.csv:3: split 'holdout'"),
        ("file,label\n", "no row"),
        ("file,colour,size\n1.png,red,3\n2.png,blue,4\n", "its columns are file, colour, size"),
        ("file,a,b\n1.png,0,1\n2.png,1,0\n", "several 0/1 columns; name one as labels: a, b"),
        ('file,label\n1.png,"a\n', "cannot be read as CSV"),
        ("", "is empty"),
    ]:
        table.write_text(text)
        assert says in refusal(tmp_path), text
    table.write_text("file,a,b\n1.png,0,1\n2.png,1,0\n")
    assert "no column 'c'" in refusal(tmp_path, labels="c")
    assert [label.name for label in open_dataset(tmp_path, labels="b").classes] == ["not b", "b"]
    table.write_text("name,value\n1,2\n")
    assert "no column 'file'" in refusal(table)


def test_csv_labels_must_be_in_the_class_table(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels.csv").write_text("file,label\n1.png,cat\n2.png,cow\n")
    assert "labels.csv:3: label 'cow' is not in classes.txt" in refusal(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\n1.png,0\n2.png,1\n")
    assert [label.name for label in open_dataset(tmp_path).classes] == ["cat", "dog"]
    (tmp_path / "labels.csv").write_text("file,index\n1.png,0\n2.png,2\n")
    assert "class id 2; classes.txt has ids 0 to 1" in refusal(tmp_path)


def test_csv_files_named_as_splits(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "train.csv").write_text("file,label\n1.png,a\n2.png,b\n")
    (tmp_path / "test.csv").write_text("file,label\n3.png,a\n")
    assert counts(open_dataset(tmp_path)) == {("train", "a"): 1, ("train", "b"): 1, ("test", "a"): 1}


def test_csv_adds_groups_and_splits_to_class_folders(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["a/1.png", "a/2.png", "b/1.png"])
    (tmp_path / "meta.csv").write_text("file,group,split\na/1.png,p1,train\na/2.png,p2,test\nb/1.png,p1,train\n")
    dataset = open_dataset(tmp_path)
    assert dataset.form == "folders"
    assert [(s.name, s.group, s.split) for s in dataset.samples] == [
        ("a/1.png", "p1", "train"), ("a/2.png", "p2", "test"), ("b/1.png", "p1", "train"),
    ]  # fmt: skip


def test_rows_twice_are_counted_once(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "labels.csv").write_text("file,label\n1.png,a\n2.png,b\n1.png,a\n")
    dataset = open_dataset(tmp_path)
    assert len(dataset.samples) == 2
    assert "1 files that are named twice" in dataset.notes[0]


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=8
)
ROW = st.tuples(TEXT, st.sampled_from(["train", "val", "test"]), st.one_of(st.none(), TEXT))


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=20), st.sampled_from([",", ";", "\t"]))
def test_what_a_csv_says_is_what_is_read(rows: list[tuple[str, str, str | None]], delimiter: str) -> None:
    """Labels and groups of any characters, quoted where need be."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["file", "label", "split", "group"])
    writer.writerows([f"images/{i}.jpg", label, split, group or ""] for i, (label, split, group) in enumerate(rows))
    files = InMemory({"data.csv": text.getvalue()}, [f"images/{i}.jpg" for i in range(len(rows))])
    dataset = read_labelled(Path("set"), files, find_tables(Path("set"), files, "")[0])
    found = [(dataset.classes[sample.label].name, sample.split, sample.group) for sample in dataset.samples]
    assert found == rows
    assert [label.name for label in dataset.classes] == sorted({label for label, _, _ in rows})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(TEXT, st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=20),
    st.sampled_from([", ", ",", " ", "\t"]),
)
def test_what_a_list_says_is_what_is_read(rows: list[tuple[str, int, int]], separator: str) -> None:
    """Paths of any characters, ids as they are, fine or coarse."""
    paths = [f"images/{i}/x {name}.JPG" for i, (name, _, _) in enumerate(rows)]
    lines = [separator.join([path, str(fine), str(coarse)]) for path, (_, fine, coarse) in zip(paths, rows)]
    files = InMemory({"train.txt": "\n".join(lines)}, paths)
    for labels, column in ((None, 1), ("coarse", 2)):
        dataset = read_lists(Path("set"), files, ["train.txt"], labels)
        assert [sample.name for sample in dataset.samples] == paths
        assert [dataset.classes[sample.label].index for sample in dataset.samples] == [row[column] for row in rows]


def test_hands_are_rendered_where_no_such_path_exists(
    tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = write_images(tmp_path / "made", ["train/paper/1.png", "train/rock/1.png", "test/rock/2.png"])
    monkeypatch.setattr("mobilenets.data.hands.prepare", lambda: made)
    assert open_dataset("hands").root == made
    write_images(tmp_path / "hands", ["a/1.png", "b/1.png"])
    assert [label.name for label in open_dataset("hands").classes] == ["a", "b"]


# ------------------------------------------------------------------------------------------------- reading in parallel


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
