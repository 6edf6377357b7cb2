"""Hugging Face data sets saved to disk and in parquet files: the same samples and classes, and clear refusals."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobilenets.data.dataset import open_dataset
from mobilenets.data.huggingface import is_huggingface
from mobilenets.data.pack import pack
from mobilenets.errors import UserError

NAMES = ["cat", "dog", "owl"]
Make = Callable[..., Any]


@pytest.fixture
def make(png_of: Callable[..., bytes]) -> Make:
    """`make(count, first=0)`: a table of `count` images with classes in turn."""
    datasets = pytest.importorskip("datasets", reason="needs the datasets library")

    def table(count: int, first: int = 0, **columns: Any) -> Any:
        rows = range(first, first + count)
        data = {"image": [{"bytes": png_of(n), "path": None} for n in rows], "label": [n % 3 for n in rows]} | columns
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
        features |= {name: datasets.Value("string") for name in columns}
        return datasets.Dataset.from_dict(data, features=datasets.Features(features))

    return table


def test_saved_to_disk_with_splits(make: Make, tmp_path: Path, png_of: Callable[..., bytes]) -> None:
    import datasets

    datasets.DatasetDict(train=make(9), validation=make(3, 9), test=make(3, 12)).save_to_disk(tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    assert (dataset.form, dataset.splits) == ("huggingface", ("train", "val", "test"))
    assert [(c.name, c.index) for c in dataset.classes] == [("cat", 0), ("dog", 1), ("owl", 2)]
    assert [sample.label for sample in dataset.samples] == [n % 3 for n in range(15)]
    assert [dataset.read(sample) for sample in dataset.samples] == [png_of(n) for n in range(15)]
    assert dataset.samples[9].name == "validation/00000000.png"


def test_parquet_files_by_the_split_of_their_names(
    make: Make, tmp_path: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    make(6).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00002.parquet")
    make(3, 6).to_parquet(tmp_path / "set" / "data" / "train-00001-of-00002.parquet")
    make(3, 9).to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    dataset = open_dataset(tmp_path / "set")
    assert [len(dataset.of_split(split)) for split in ("train", "test")] == [9, 3]
    assert [dataset.read(sample) for sample in dataset.of_split("train")] == [png_of(n) for n in range(9)]


def test_another_column_and_hidden_labels(make: Make, tmp_path: Path) -> None:
    table = make(6, kind=["b", "a", "b", None, "a", "b"])
    table.save_to_disk(tmp_path / "set")
    dataset = open_dataset(tmp_path / "set", labels="kind")
    assert [c.name for c in dataset.classes] == ["a", "b"]
    assert [sample.label for sample in dataset.samples] == [1, 0, 1, 0, 1]
    assert "1 images without a label, left out" in dataset.notes
    with pytest.raises(UserError, match="no column 'none'; there are image, label, kind"):
        open_dataset(tmp_path / "set", labels="none")


def test_packed_it_is_the_same(make: Make, tmp_path: Path) -> None:
    make(60).save_to_disk(tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "packed")
    before, after = open_dataset(tmp_path / "set"), open_dataset(tmp_path / "packed")
    assert [(s.name, s.label) for s in before.samples] == [(s.name, s.label) for s in after.samples]
    assert [before.read(s) for s in before.samples] == [after.read(s) for s in after.samples]


def test_a_table_without_images_is_refused(make: Make, tmp_path: Path) -> None:
    make(6).remove_columns("image").save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match="0 columns hold images; one is expected, of the columns label"):
        open_dataset(tmp_path / "set")


def test_a_damaged_set_is_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    make(6).save_to_disk(tmp_path / "set")
    for path in (tmp_path / "set").glob("*.arrow"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="the datasets library cannot load it") as caught:
        open_dataset(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_what_is_taken_for_such_a_set(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    assert is_huggingface(tmp_path)
    assert is_huggingface("hf://datasets/someone/something")
    assert not is_huggingface("hf://datasets/someone/something/train-{000..009}.tar")
    assert not is_huggingface(tmp_path / "a.parquet")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the datasets library is installed")
def test_without_the_library_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r'needs the datasets library: pip install "mobilenets\[huggingface\]"'):
        open_dataset(tmp_path)
