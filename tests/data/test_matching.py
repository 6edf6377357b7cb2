"""The classes of a data set and the logits of a network meet by index, wnid or name, or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from mobilenets.data.matching import map_classes
from mobilenets.data.records import ClassLabel
from mobilenets.errors import UserError

LABELS: list[dict[str, Any]] = [
    {"name": "tench, Tinca tinca", "index": 0, "wnid": "n01440764"},
    {"name": "crane", "index": 134},
    {"name": "crane", "index": 517},
    {"name": "sports_car", "index": 817},
]


@pytest.mark.parametrize(
    ("label", "column"),
    [
        (ClassLabel("whatever", index=517), 2),
        (ClassLabel("whatever", wnid="n01440764"), 0),
        (ClassLabel("crane", index=134), 1),
        (ClassLabel("Sports car"), 3),
        (ClassLabel("tench"), 0),
    ],
)
def test_classes_meet_by_index_wnid_or_name(label: ClassLabel, column: int) -> None:
    assert map_classes([label], LABELS, "net") == [column]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([ClassLabel("crane")], "'crane' is ambiguous: it stands for the classes 1, 2 of net"),
        ([ClassLabel("trout")], "'trout' is none of the classes of net: tench"),
        ([ClassLabel("sports car"), ClassLabel("Sports_Car")], "are both 'sports_car' of net"),
    ],
)
def test_classes_that_do_not_meet_are_refused(labels: list[ClassLabel], words: str) -> None:
    with pytest.raises(UserError, match=words):
        map_classes(labels, LABELS, "net")
