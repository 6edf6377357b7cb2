"""Lists and CSV files, and the mistakes in them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from described import InMemory, Write, counts, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.dataset import ClassLabel, open_dataset
from mobilenets.data.lists import read_lists
from mobilenets.data.tables import find_tables, read_labelled


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
