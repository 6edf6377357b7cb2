"""ImageNet's classes: a thousand, in order, each with a name of its own."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from mobilenets.weights.imagenet import CLASSES, imagenet_labels


def test_a_thousand_classes_in_sorted_order() -> None:
    labels = imagenet_labels()
    assert len(labels) == CLASSES == 1000
    assert [label["index"] for label in labels] == list(range(1000))
    wnids = [label["wnid"] for label in labels]
    assert wnids == sorted(set(wnids))
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert len({label["name"] for label in labels}) == 1000


def test_well_known_places() -> None:
    labels = imagenet_labels()
    assert [labels[index]["name"] for index in (0, 281, 291, 954, 999)] == [
        "tench",
        "tabby",
        "lion",
        "banana",
        "toilet tissue",
    ]


def test_words_that_mean_two_things_are_told_apart_by_their_wnid() -> None:
    named = {label["wnid"]: label["name"] for label in imagenet_labels()}
    assert (named["n02012849"], named["n03126707"]) == ("crane bird", "crane")
    assert (named["n03710637"], named["n03710721"]) == ("maillot", "maillot tank suit")


def test_the_samples_agree(shared: Path) -> None:
    labels = imagenet_labels()
    with open(shared / "data" / "imagenet_samples_even" / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    assert all(labels[int(row["index"])]["wnid"] == row["wnid"] for row in rows)
    differing = {
        (row["wnid"], row["label"]) for row in rows if labels[int(row["index"])]["name"].lower() != row["label"].lower()
    }
    assert differing == {("n02012849", "crane")}
