"""`predict` on files, folders, patterns and archives, whole and broken."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mobilenets.deploy.predict import predict
from mobilenets.errors import UserError


def test_every_kind_of_source_gives_the_same_answers(exported: Path, colours: Path, tmp_path: Path) -> None:
    folder = colours / "val" / "blue"
    files = sorted(str(path) for path in folder.iterdir())
    by_file = predict(exported, files)
    assert [row["source"] for row in by_file] == files
    assert predict(exported, [folder]) == by_file
    assert predict(exported, [str(folder / "*.png")]) == by_file
    with zipfile.ZipFile(tmp_path / "blue.zip", "w") as archive:
        for path in files:
            archive.write(path, Path(path).name)
    zipped = predict(exported, [tmp_path / "blue.zip"])
    assert [row["predictions"] for row in zipped] == [row["predictions"] for row in by_file]
    assert zipped[0]["source"] == f"{tmp_path}/blue.zip/000.png"
    deep = predict(exported, [str(colours / "**" / "00?.png")])
    assert len(deep) == 60


def test_the_answer_is_sorted_and_sums_to_one(run: Path, colours: Path) -> None:
    (row,) = predict(run, [colours / "val" / "cyan" / "000.png"])
    scores = [answer["score"] for answer in row["predictions"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    (first,) = predict(run, [colours / "val" / "cyan" / "000.png"], top=1)
    assert first["predictions"] == row["predictions"][:1]


def test_a_broken_picture_has_an_error_in_place_of_an_answer(exported: Path, colours: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"text, no picture")
    rows = predict(exported, [bad, colours / "val" / "blue" / "000.png"])
    assert rows[0] == {"source": str(bad), "unknown": False, "predictions": [], "error": rows[0]["error"]}
    assert "error" not in rows[1]
    assert rows[1]["predictions"]
    with pytest.raises(UserError, match=r"bad\.jpg: not an image"):
        predict(exported, [bad])
    with pytest.raises(UserError, match="none of 2 pictures could be read"):
        predict(exported, [bad, bad])


def test_sources_that_name_nothing_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for sources, words in (
        ([tmp_path / "nowhere.jpg"], "no such file or folder"),
        ([tmp_path / "empty"], "no picture in it"),
        ([str(tmp_path / "*.jpg")], "fits no picture"),
        ([], "no pictures named"),
    ):
        with pytest.raises(UserError, match=words):
            predict(exported, sources)
    with pytest.raises(UserError, match="top 0 is out of range"):
        predict(exported, [tmp_path], top=0)
