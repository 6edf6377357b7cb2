"""The renderer of hands: deterministic pictures, true masks and boxes, folders that are whole or absent."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.data import hands
from mobilenets.data.hands import folder as folder_module
from mobilenets.data.hands.background import BACKGROUNDS, draw_background
from mobilenets.data.hands.field import Field
from mobilenets.data.hands.folder import plan_splits
from mobilenets.data.hands.pose import sample_pose
from mobilenets.data.hands.skeleton import SLEEVE, Build, build_hand
from mobilenets.errors import UserError

SIZE = 48


@pytest.fixture(scope="module")
def sixty() -> list[hands.Rendered]:
    return [hands.render(11, i, size=SIZE) for i in range(60)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hands.prepare(images=21, size=32, seed=5, out=tmp_path_factory.mktemp("hands") / "set", workers=1)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_picture_depends_on_seed_and_index_alone(sixty: list[hands.Rendered]) -> None:
    for i in (17, 3):
        again = hands.render(11, i, size=SIZE)
        assert again.image.tobytes() == sixty[i].image.tobytes()
        assert again.mask.tobytes() == sixty[i].mask.tobytes()
        assert (again.label, again.box, again.attributes) == (sixty[i].label, sixty[i].box, sixty[i].attributes)


def test_pictures_differ(sixty: list[hands.Rendered]) -> None:
    assert len({r.image.tobytes() for r in sixty}) == 60
    assert hands.render(12, 0, size=SIZE).image.tobytes() != sixty[0].image.tobytes()


def test_signs_take_turns_and_can_be_asked_for(sixty: list[hands.Rendered]) -> None:
    assert [r.label for r in sixty[:6]] == [*hands.SIGNS, *hands.SIGNS]
    assert Counter(r.label for r in sixty) == dict.fromkeys(hands.SIGNS, 20)
    for sign, fingers in (("rock", 0), ("paper", 5), ("scissors", 2)):
        asked = hands.render(11, 4, sign, SIZE)
        assert (asked.label, asked.attributes["fingers"]) == (sign, fingers)
        # The scene is that of the index; only the hand's pose is another.
        own = sixty[4].attributes
        assert {**asked.attributes, "fingers": 0} == {**own, "fingers": 0}


def test_shapes_and_ranges(sixty: list[hands.Rendered]) -> None:
    for r in sixty:
        assert r.image.shape == (SIZE, SIZE, 3)
        assert r.mask.shape == (SIZE, SIZE)
        assert r.image.dtype == r.mask.dtype == np.uint8
        assert set(np.unique(r.mask)) == {0, 1}
        assert r.attributes["fingers"] == {"rock": 0, "paper": 5, "scissors": 2}[r.label]
        assert r.attributes["skin_tone"] in range(6)
        assert r.attributes["side"] in ("left", "right")
        assert r.attributes["view"] in ("palm", "back")
        assert isinstance(r.attributes["sleeve"], bool)


def test_box_is_the_edge_of_the_mask(sixty: list[hands.Rendered]) -> None:
    for r in sixty:
        ys, xs = np.nonzero(r.mask)
        assert r.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_the_hand_fills_a_fair_part_of_the_picture(sixty: list[hands.Rendered]) -> None:
    cover = np.array([r.mask.mean() for r in sixty])
    assert cover.min() > 0.06
    assert cover.max() < 0.62
    whole = [r.box[0] >= 0 and r.box[2] <= SIZE and r.box[2] - r.box[0] > SIZE / 6 for r in sixty]
    assert all(whole)


def test_no_picture_is_black_or_burnt_out(sixty: list[hands.Rendered]) -> None:
    for r in sixty:
        skin = r.image[r.mask == 1].astype(float)
        assert 12 < skin.mean() < 250
        assert r.image.std() > 8


def test_attributes_vary_and_skin_tones_darken(sixty: list[hands.Rendered]) -> None:
    for name, kinds in (("skin_tone", 6), ("side", 2), ("view", 2), ("sleeve", 2)):
        assert len({r.attributes[name] for r in sixty}) == kinds  # type: ignore[literal-required]
    means = [np.mean([r.image[r.mask == 1].mean() for r in sixty if r.attributes["skin_tone"] in tones])
             for tones in ((0, 1), (2, 3), (4, 5))]  # fmt: skip
    assert means[0] > means[1] > means[2]


def test_size_changes_only_the_resolution() -> None:
    for index in range(3):
        small, large = hands.render(2, index, size=48), hands.render(2, index, size=96)
        mask = cv2.resize(large.mask, (48, 48), interpolation=cv2.INTER_AREA)
        image = cv2.resize(large.image, (48, 48), interpolation=cv2.INTER_AREA)
        assert small.attributes == large.attributes
        assert (small.mask & mask).sum() / (small.mask | mask).sum() > 0.9
        assert np.abs(np.array(small.box) * 2 - large.box).max() <= 4
        quarters = [cv2.resize(i, (2, 2), interpolation=cv2.INTER_AREA).astype(float) for i in (small.image, image)]
        assert np.abs(quarters[0] - quarters[1]).max() < 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, 0), "seed"), ((0, -1), "index"), ((0, 0, "lizard"), "lizard"), ((0, 0, None, 8), "size")],
)
def test_bad_arguments_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hands.render(*arguments)


@pytest.mark.parametrize("sign", hands.SIGNS)
def test_field_agrees_with_a_plain_loop(sign: str) -> None:
    rng = np.random.default_rng(0)
    hand = build_hand(sample_pose(sign, rng), Build(), sleeve_y=-3.0)
    field = Field(hand)
    points = rng.uniform((-6, -8, -4), (6, 18, 7), (200, 3)).T.astype(np.float32)
    distances, along = field.cones(points)
    for k in range(SLEEVE.stop):
        a, b = hand.start[k], hand.end[k]
        place = ((points.T - a) @ (b - a)) / ((b - a) @ (b - a))
        h = np.clip(place, 0, 1)
        radius = hand.start_radius[k] + h * (hand.end_radius[k] - hand.start_radius[k])
        expected = np.linalg.norm(points.T - a - h[:, None] * (b - a), axis=1) - radius
        np.testing.assert_allclose(distances[k], expected, atol=2e-3)
        np.testing.assert_allclose(along[k], place, atol=2e-3)


def test_normals_are_the_gradient_of_the_distance() -> None:
    rng = np.random.default_rng(1)
    field = Field(build_hand(sample_pose("paper", rng), Build(), sleeve_y=None))
    points = rng.uniform((-4, 0, -3), (5, 18, 3), (3000, 3)).T.astype(np.float32)
    points = points[:, np.abs(field.distance(points)) < 0.1][:, :200]
    _, _, normals, cloth = field.surface(points)
    steps = 0.02 * np.eye(3, dtype=np.float32)
    gradient = np.stack([field.distance(points + s[:, None]) - field.distance(points - s[:, None]) for s in steps])
    gradient /= np.linalg.norm(gradient, axis=0)
    assert not cloth.any()
    assert np.median((normals * gradient).sum(axis=0)) > 0.98


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_background_fills_the_picture(name: str) -> None:
    for seed in range(3):
        image = draw_background(name, np.random.default_rng(seed), 33)
        assert image.shape == (33, 33, 3)
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1


def test_splits_are_balanced_and_depend_on_the_seed() -> None:
    splits = plan_splits(300, 0)
    for k in range(3):
        assert Counter(splits[k::3]) == {"train": 70, "val": 10, "test": 20}
    assert plan_splits(300, 0) == splits
    assert plan_splits(300, 1) != splits
    assert all(set(plan_splits(9, 0)[k::3]) == {"train", "val", "test"} for k in range(3))


def test_prepared_folder_agrees_with_the_renderer(prepared: Path) -> None:
    root = prepared.parent
    assert prepared.name == "images"
    assert sorted(p.name for p in prepared.iterdir()) == ["test", "train", "val"]
    with open(root / "annotations.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 21
    for index, row in enumerate(rows):
        expected = hands.render(5, index, size=32)
        assert row["file"] == f"{row['split']}/{row['label']}/{index:06d}.jpg"
        mask = cv2.imread(str(root / "masks" / row["file"].replace(".jpg", ".png")), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert np.array_equal(mask, expected.mask)
        assert tuple(float(row[k]) for k in ("x1", "y1", "x2", "y2")) == expected.box
        assert {k: row[k] for k in expected.attributes} == {k: str(v) for k, v in expected.attributes.items()}
        image = cv2.imread(str(prepared / row["file"]))
        assert image is not None
        assert np.abs(image[..., ::-1].astype(float) - expected.image).mean() < 12


def test_workers_do_not_change_the_bytes(prepared: Path, tmp_path: Path) -> None:
    other = hands.prepare(images=21, size=32, seed=5, out=tmp_path / "two", workers=2)
    assert contents(other.parent) == contents(prepared.parent)


def test_second_call_renders_nothing(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    cached = hands.prepare(images=9, size=32, workers=1)
    assert cached.is_relative_to(tmp_path)
    monkeypatch.setattr(folder_module, "_render_into", refuse)
    assert hands.prepare(images=9, size=32) == cached
    assert hands.prepare(images=21, size=32, seed=5, out=prepared.parent) == prepared
    with pytest.raises(AssertionError, match="rendered again"):
        hands.prepare(images=9, size=32, seed=1)
    monkeypatch.setattr(folder_module, "VERSION", hands.VERSION + 1)
    with pytest.raises(AssertionError, match="rendered again"):
        hands.prepare(images=9, size=32)


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilenets.data.hands import work

    real = work.render

    def fails(seed: int, index: int, size: int) -> hands.Rendered:
        if index == 7:
            raise KeyboardInterrupt
        return real(seed, index, size=size)

    monkeypatch.setattr(work, "render", fails)
    with pytest.raises(KeyboardInterrupt):
        hands.prepare(images=12, size=32, out=tmp_path / "set", workers=1)
    assert list(tmp_path.iterdir()) == []


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc to see the worker processes")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_half_way_leaves_nothing_that_looks_complete(tmp_path: Path, how: signal.Signals) -> None:
    out = str(tmp_path / "set")
    code = f"from mobilenets.data import hands; hands.prepare(images=6000, size=32, out={out!r}, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=os.environ.copy())
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = _children(process.pid)
    process.send_signal(how)
    assert process.wait(timeout=30) != 0
    assert len(workers) == 2
    while any(Path(f"/proc/{w}").exists() for w in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{w}").exists() for w in workers)
    assert not (tmp_path / "set").exists()
    if how is signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_render_are_removed_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".set.1.part", tmp_path / ".set.2.part"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    hands.prepare(images=9, size=32, out=tmp_path / "set", workers=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".set.2.part", "set"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"images": 8}, "images must be 9"), ({"size": 16}, "size must be 32"), ({"seed": -1}, "seed"),
     ({"workers": 0}, "workers")],
)  # fmt: skip
def test_prepare_names_what_is_out_of_range(arguments: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        hands.prepare(**arguments, out=tmp_path / "set")  # type: ignore[arg-type]


def test_a_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something other"):
        hands.prepare(images=9, size=32, out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_contact_sheet_shows_every_sign(tmp_path: Path) -> None:
    hands.contact_sheet(tmp_path / "sheet.png", columns=2, size=32)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (3 * 36 + 4, 30 + 2 * 36, 3)
