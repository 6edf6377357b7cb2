"""Perceptual prints find the same picture again, however it was saved, and nothing else; the search misses no pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.near import (
    LONG_BITS,
    RECORD,
    SHORT_BITS,
    Prints,
    components,
    perceptual_print,
    prints,
    similar_pairs,
)

Picture = Callable[..., np.ndarray]


def pairs_of(*images: np.ndarray) -> set[tuple[int, int]]:
    found = similar_pairs(np.stack([perceptual_print(image) for image in images]))
    return set(zip(found.a.tolist(), found.b.tolist()))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return decode_image(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "itself": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "smaller": lambda image: cv2.resize(image, (61, 61), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (400, 400)),
    "another shape": lambda image: cv2.resize(image, (200, 150)),
    "jpeg quality 30": lambda image: jpeg(image, 30),
    "brighter": lambda image: np.clip(image.astype(int) + 25, 0, 255).astype(np.uint8),
    "less contrast": lambda image: (image * 0.7 + 20).astype(np.uint8),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_is_found_again(picture_of: Picture, change: str) -> None:
    found = 0
    for seed in range(10):
        image = picture_of(seed, 160)
        found += (0, 1) in pairs_of(image, np.ascontiguousarray(CHANGES[change](image)))
    assert found >= 9


@pytest.mark.parametrize(("part", "least"), [(0.02, 1.0), (0.05, 0.75)])
def test_photos_cropped_a_little(shared: Path, part: float, least: float) -> None:
    """Recall on real photos with a border cut off; never a pair of two different photos."""
    dataset = open_dataset(shared / "data/imagenet_samples_even")
    photos = [decode_image(dataset.read(sample), min_side=128) for sample in dataset.samples[::6]]
    cropped = []
    for photo in photos:
        y, x = int(photo.shape[0] * part / 2), int(photo.shape[1] * part / 2)
        cropped.append(np.ascontiguousarray(photo[y : photo.shape[0] - y, x : photo.shape[1] - x]))
    found = pairs_of(*photos, *cropped)
    own = {(i, i + len(photos)) for i in range(len(photos))}
    assert found <= own
    assert len(found) >= least * len(photos)


def test_other_pictures_and_other_colours_are_not(picture_of: Picture) -> None:
    images = [picture_of(seed, 96) for seed in range(200)]
    assert pairs_of(*images) == set()
    red, blue = images[0], np.ascontiguousarray(images[0][..., ::-1])
    disc = np.zeros((96, 96, 3), np.uint8)
    red, blue = disc.copy(), disc.copy()
    cv2.circle(red, (40, 50), 30, (200, 0, 0), -1)
    cv2.circle(blue, (40, 50), 30, (0, 0, 255), -1)
    assert pairs_of(red, blue) == set()


def plain_pairs(records: np.ndarray) -> set[tuple[int, int]]:
    """Every pair within both thresholds, mirrored or not, by two loops over bits; colours are left out."""
    odd = [np.tile(np.arange(side) % 2 == 1, (side, 1)).ravel() for side in (8, 16)]
    short = np.unpackbits(records["short"][:, None].view(np.uint8), axis=1, bitorder="little").astype(bool)
    long = np.unpackbits(np.ascontiguousarray(records["long"]).view(np.uint8), axis=1, bitorder="little").astype(bool)
    found = set()
    for i in range(len(records)):
        for j in range(i + 1, len(records)):
            for mirror in (False, True):
                near = ((short[i] ^ (odd[0] & mirror)) != short[j]).sum() <= SHORT_BITS
                if near and ((long[i] ^ (odd[1] & mirror)) != long[j]).sum() <= LONG_BITS:
                    found.add((i, j))
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(0, 12))
def test_search_finds_what_two_loops_find(seed: int, count: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    records = np.zeros(count, RECORD)
    base = rng.integers(0, 2**63, (4, 5), dtype=np.uint64)
    chosen = rng.integers(0, 4, count)
    records["short"], records["long"] = base[chosen, 0], base[chosen, 1:]
    for _ in range(flips):
        records["short"] ^= np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        records["long"][:, rng.integers(4)] ^= np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
    found = similar_pairs(records)
    expected = plain_pairs(records)
    if len(np.unique(records)) == count:
        assert set(zip(found.a.tolist(), found.b.tolist())) == expected
    joined = components(count, found.a, found.b)
    a, b = (np.array([pair[side] for pair in expected], dtype=int) for side in (0, 1))
    assert np.array_equal(joined, components(count, a, b))  # equal prints are paired with the first alone


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_components_are_those_of_a_plain_search(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    edges = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40))
    expected = list(range(count))
    for _ in range(count):
        for i, j in edges:
            expected[i] = expected[j] = min(expected[i], expected[j])
    a, b = (np.array([edge[side] for edge in edges], dtype=int) for side in (0, 1))
    assert components(count, a, b).tolist() == expected


def test_prints_are_cached_by_content(
    tmp_path: Path, write_images: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(write_images(tmp_path / "set", ["a/1.png", "a/2.png", "b/3.png"], first_seed=9000))
    (tmp_path / "set/b/4.png").write_text("no image")
    dataset = open_dataset(tmp_path / "set")
    first = prints(dataset, dataset.samples)
    assert first.readable.tolist() == [True, True, True, False]
    assert [path.name for path in own_cache.glob("prints-*")] == ["prints-1.sqlite"]
    monkeypatch.setattr("mobilenets.data.near.decode_image", None)  # nothing is decoded again
    (tmp_path / "set/a/1.png").rename(tmp_path / "set/a/renamed.png")
    again = prints(open_dataset(tmp_path / "set"), open_dataset(tmp_path / "set").samples)
    assert sorted(again.digests) == sorted(first.digests)
    assert np.array_equal(np.sort(again.records["short"]), np.sort(first.records["short"]))


@pytest.mark.parametrize("state", ["damaged", "a folder", "not writable"])
def test_a_cache_that_cannot_be_used_is_done_without(
    tmp_path: Path, write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    if state == "damaged":
        (cache / "prints-1.sqlite").write_bytes(b"SQLite format 3\0 then rubbish" * 50)
    elif state == "a folder":
        (cache / "prints-1.sqlite").mkdir()
    else:
        cache.rmdir()
        cache.write_text("a file stands where the folder should be")
    monkeypatch.setenv("MOBILENETS_CACHE", str(cache))
    dataset = open_dataset(write_images(tmp_path / "set", ["a/1.png", "b/2.png"]))
    found = prints(dataset, dataset.samples)
    assert isinstance(found, Prints)
    assert found.readable.all()
    if state == "damaged":  # the next run has a cache again
        prints(dataset, dataset.samples)
        assert (cache / "prints-1.sqlite").read_bytes().startswith(b"SQLite format 3\0\x10")


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_many_prints_within_seconds(count: int) -> None:
    rng = np.random.default_rng(0)
    records = np.zeros(count, RECORD)
    records["short"] = rng.integers(0, 2**63, count, dtype=np.uint64) << np.uint64(1)
    records["long"] = rng.integers(0, 2**63, (count, 4), dtype=np.uint64)
    tenth = count // 10
    records[7 * tenth :] = records[: 3 * tenth]
    for _ in range(SHORT_BITS):
        records["short"][7 * tenth : 9 * tenth] ^= np.uint64(1) << rng.integers(0, 64, 2 * tenth).astype(np.uint64)
    start = time.process_time()
    found = similar_pairs(records)
    assert time.process_time() - start < 20  # 1.3 s for 100,000; the plain search would make 5e9 comparisons
    assert len(found.a) == 3 * tenth
    assert (found.b - found.a == 7 * tenth).all()


def test_shared_sets_hold_the_pairs_that_were_looked_at(shared: Path) -> None:
    """Counted once, the pairs looked at one by one: all true, also across the splits of rps_hands."""
    expected = {"rps_hands": (1639, 154), "smiles_faces": (2, 1), "orl_faces": (102, 0)}
    for name, (count, across) in expected.items():
        dataset = open_dataset(shared / "data" / name)
        found = similar_pairs(prints(dataset, dataset.samples).records)
        splits = np.array([sample.split or "" for sample in dataset.samples])
        assert abs(len(found.a) - count) <= 0.02 * count + 1  # the decoder's last bit may differ
        assert abs(int((splits[found.a] != splits[found.b]).sum()) - across) <= 3
        labels = np.array([sample.label for sample in dataset.samples])
        assert (labels[found.a] == labels[found.b]).all()
