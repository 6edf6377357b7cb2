"""What file names say about clips, copies and sittings, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.data.dataset import open_dataset
from mobilenets.data.records import Sample
from mobilenets.data.sequences import name_stem, sequence_rules


def keys(names: list[str], rule: str, class_name: str = "rock") -> list[str | None]:
    """The keys of one rule for files of one class, all None where the rule does not arise."""
    rules = sequence_rules([Sample(name, 0) for name in names], [class_name])
    found = [entry for entry in rules if entry.name == rule]
    return list(found[0].keys) if found else [None] * len(names)


@pytest.mark.parametrize(
    ("name", "class_name", "stem", "is_variant"),
    [
        ("train/rock/rock.0246_png.rf.5470311720280d6069f8ad83a2d3a400_01848.jpg", "rock", "0246", True),
        ("train/paper/paper.IMG_7079_MOV-58_jpg.rf.284f78f4.jpg", "paper", "IMG_7079_MOV-58", True),
        ("train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg", "Apple", "001", False),
        ("n01440764/n01440764_10026.JPEG", "n01440764", "10026", False),
        ("cat/cat (12).jpg", "cat", "(12)", False),
        ("cat/catalogue7.jpg", "cat", "catalogue7", False),
        ("rock/rock.egohands-public-1622730823329_png_jpg.rf.c9.jpg", "rock", "egohands-public-1622730823329", True),
        ("IMG_0001", "x", "IMG_0001", False),
    ],
)
def test_stem_is_what_class_and_format_leave(name: str, class_name: str, stem: str, is_variant: bool) -> None:
    assert name_stem(name, class_name) == (stem, is_variant)


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a/IMG_7079_MOV-12.jpg", "img_7079_mov"),
        ("a/zoom_tests-mohamed_mp4-101.jpg", "zoom_tests-mohamed_mp4"),
        ("a/holiday.mp4_0012.png", "holiday.mp4"),
        ("a/clip3_frame_0012.png", "clip3"),
        ("a/Seq05VD_f00330.png", "seq05vd"),
        ("a/video12_00033.png", "video12"),
        ("a/kitchen-frame12.png", "kitchen"),
        ("a/frame_0012.png", None),
        ("a/IMG_1234.jpg", None),
        ("a/0001.jpg", None),
        ("a/2346726545_2ebce2b2a6.jpg", None),
        ("a/wolf-12.jpg", None),
    ],
)
def test_clips(name: str, clip: str | None) -> None:
    assert keys([name, "a/other.jpg"], "clip", "x")[0] == clip


def test_sittings_end_at_a_pause() -> None:
    names = [
        "20220216_220815.jpg", "20220216_220847.jpg", "20220216_221300.jpg",  # 4 min 13 s after the one before
        "20220216_221801.jpg",  # 5 min 1 s
        "Screen-Shot-2022-02-14-at-1-09-26-PM.png", "Screen-Shot-2022-02-14-at-1-11-26-PM.png",
        "Screen Shot 2022-02-14 at 1.09.26 AM.png",
        "Photo-on-2-16-22-at-10-19-AM-10.jpg", "Photo-on-2-16-22-at-10-21-AM.jpg",
        "cam-1622730823329.png", "cam-1622730923329.png", "cam-1622740923329.png", "other-1622730823329.png",
    ]  # fmt: skip
    found = keys([f"a/{name}" for name in names], "sitting")
    groups = {key: [i for i, other in enumerate(found) if other == key] for key in found}
    assert sorted(groups.values()) == [[0, 1, 2], [3], [4, 5], [6], [7, 8], [9, 10], [11], [12]]


@pytest.mark.parametrize(
    "name", ["20221345_990000.jpg", "n01440764_10026.jpg", "0123456789012.jpg", "7622210449283.jpg"]
)
def test_numbers_that_are_no_times(name: str) -> None:
    assert keys([f"a/{name}.jpg", "a/b.jpg"], "sitting") == [None, None]


def test_copies_of_one_picture() -> None:
    names = ["rock.0095_png.rf.aa.jpg", "rock.0095_png.rf.bb.jpg", "rock.0096_png.rf.cc.jpg"]
    assert keys([f"a/{name}" for name in names], "source picture") == ["0095", "0095", "0096"]
    names = ["x7_aug1.png", "x7-flip.png", "x8 copy.png", "x9.png", "copy.png"]
    assert keys([f"a/{name}" for name in names], "source picture") == ["x7", "x7", "x8", None, None]


def test_series_are_only_claims() -> None:
    rules = sequence_rules([Sample(f"a/youtube-{i}.jpg", 0) for i in range(3)], ["a"])
    assert [(rule.name, rule.trusted, set(rule.keys)) for rule in rules] == [("numbered series", False, {"youtube-"})]


def test_names_of_the_shared_hands(shared: Path) -> None:
    """Eight clips of 60 frames; sittings before webcams and phones; two series of numbers."""
    dataset = open_dataset(shared / "data/rps_hands")
    rules = {rule.name: rule for rule in sequence_rules(dataset.samples, [label.name for label in dataset.classes])}
    assert sorted(rules) == ["clip", "numbered series", "sitting", "source picture"]
    assert len(set(rules["clip"].keys) - {None}) == 8
    assert sum(key is not None for key in rules["clip"].keys) == 480
    assert sum(key is not None for key in rules["sitting"].keys) == 1423
    assert set(rules["numbered series"].keys) - {None} == {"", "youtube-"}


@pytest.mark.parametrize("name", ["cifar10_jpg", "smiles_faces", "orl_faces", "grocery_fine", "imagenet_samples_even"])
def test_names_that_say_nothing_make_no_trusted_claim(shared: Path, name: str) -> None:
    dataset = open_dataset(shared / "data" / name)
    rules = sequence_rules(dataset.samples, [label.name for label in dataset.classes])
    assert not [rule.name for rule in rules if rule.trusted]
