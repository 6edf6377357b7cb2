"""Decoded images on disk: what is read is what was put, whatever was killed, damaged, full or shared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filling import image_of

from mobilenets.data import decoded
from mobilenets.data.decoded import DecodedCache, bound_bytes, open_decoded
from mobilenets.errors import UserError

IMAGES = 40
BOUND = 10**9


def filled(folder: Path, images: int = IMAGES, bound: int = BOUND) -> DecodedCache:
    cache = DecodedCache(folder, images, bound)
    for number in range(images):
        if cache.get(number) is None:
            cache.put(number, image_of(number))
    return cache


def check(cache: DecodedCache) -> int:
    """How many images are there; every one of them is the right one."""
    there = 0
    for number in range(IMAGES):
        image = cache.get(number)
        if image is not None:
            assert np.array_equal(image, image_of(number)), number
            there += 1
    return there


def filling(folder: Path, *more: int, bound: int = BOUND) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("filling.py")), str(folder), str(IMAGES), str(bound)]
    return subprocess.Popen([*command, *map(str, more)], stdout=subprocess.PIPE, text=True)


def taken(parent: Path) -> int:
    """Bytes that the caches below a folder take as their files state them."""
    return sum(file.stat().st_size for file in parent.glob("*/*"))


def test_what_is_put_is_read_again_by_this_and_the_next_process(tmp_path: Path) -> None:
    cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    assert check(cache) == 0
    assert all(cache.put(number, image_of(number)) for number in (3, 0, 39))
    assert check(cache) == cache.count == 3
    assert cache.nbytes == sum(image_of(number).nbytes for number in (3, 0, 39))
    image = cache.get(3)
    assert image is not None
    cache.close()
    assert np.array_equal(image, image_of(3))  # what was handed out outlives the cache
    assert not cache.put(5, image_of(5))
    assert not image.flags.writeable
    again = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    assert check(again) == 3
    assert again.put(3, image_of(3))
    assert again.count == 3


def test_two_caches_of_one_folder_see_what_the_other_adds(tmp_path: Path) -> None:
    one, two = (DecodedCache(tmp_path / "c", IMAGES, BOUND) for _ in range(2))
    one.put(1, image_of(1))
    two.put(2, image_of(2))
    assert check(one) == check(two) == 2


@pytest.mark.parametrize(("call", "size"), [(7, 0), (7, 1000), (8, 0), (8, 17), (8, 32), (15, 5)])
def test_killed_in_a_write_it_holds_whole_images_only(tmp_path: Path, call: int, size: int) -> None:
    """Odd calls write pixels, even ones the row that makes them count."""
    process = filling(tmp_path / "c", call, size)
    process.communicate(timeout=60)
    assert process.returncode == -9
    cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    whole = (call - 1) // 2 + (call % 2 == 0 and size == 32)
    assert check(cache) == whole
    assert check(filled(tmp_path / "c")) == IMAGES  # what is left is written over
    assert check(cache) == IMAGES


@pytest.mark.slow
def test_killed_at_any_moment_while_others_fill(tmp_path: Path) -> None:
    for round_ in range(6):
        processes = [filling(tmp_path / "c") for _ in range(2)]
        time.sleep(0.15 + 0.05 * round_)
        processes[0].kill()
        for process in processes:
            process.communicate(timeout=60)
        assert processes[1].returncode == 0
        cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
        assert check(cache) == IMAGES
        cache.close()
        assert decoded._evict(tmp_path / "c")


def test_processes_that_fill_at_once_write_each_image_once(tmp_path: Path) -> None:
    processes = [filling(tmp_path / "c") for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [str(IMAGES)] * 2
    assert (tmp_path / "c" / "index").stat().st_size == IMAGES * decoded._ROW.itemsize
    assert check(DecodedCache(tmp_path / "c", IMAGES, BOUND)) == IMAGES


def test_the_bound_holds(tmp_path: Path) -> None:
    bound = 12 * image_of(0).nbytes
    cache = filled(tmp_path / "c", bound=bound)
    assert 5 < check(cache) < 13
    assert cache.refusal is not None
    assert taken(tmp_path) <= bound
    processes = [filling(tmp_path / name, bound=bound) for name in ("d", "e")]
    for process in processes:
        process.communicate(timeout=60)
    assert taken(tmp_path) <= bound


def test_the_least_recently_used_cache_gives_way(tmp_path: Path) -> None:
    for name, age in (("old", 300), ("older", 400), ("used", 500)):
        filled(tmp_path / name).close()
        os.utime(tmp_path / name / "used", (time.time() - age,) * 2)
    size = taken(tmp_path) // 3
    in_use = DecodedCache(tmp_path / "used", IMAGES, BOUND)
    os.utime(tmp_path / "used" / "used", (time.time() - 500,) * 2)
    new = filled(tmp_path / "new", bound=3 * size + size // 2)
    assert sorted(folder.name for folder in tmp_path.glob("*/")) == ["new", "old", "used"]
    assert check(new) == check(in_use) == IMAGES
    new.close(), in_use.close()
    filled(tmp_path / "last", images=1, bound=size + size // 2).close()  # a smaller bound than before holds too
    assert taken(tmp_path) <= size + size // 2
    assert not (tmp_path / "old").exists()


def test_damaged_pixels_are_decoded_again(tmp_path: Path) -> None:
    filled(tmp_path / "c").close()
    with (tmp_path / "c" / "pixels").open("r+b") as file:
        file.seek(image_of(0).nbytes + 200)
        file.write(b"\0" * 300)
    cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    assert check(cache) == IMAGES - 1
    assert check(filled(tmp_path / "c")) == IMAGES
    assert check(cache) == IMAGES


@pytest.mark.parametrize("name", ["pixels", "index"])
def test_a_cut_or_overwritten_cache_is_made_anew(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "c").close()
    path = tmp_path / "c" / name
    if name == "pixels":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.write_bytes(b"\x01" * 700)
    cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    assert check(cache) == 0
    cache.close()
    assert check(filled(tmp_path / "c")) == IMAGES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "lock"]


def test_a_full_disk_ends_the_writing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DecodedCache(tmp_path / "c", IMAGES, BOUND)
    write, calls = os.pwrite, 0

    def full(file: int, data: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 8:
            write(file, data[:100], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    assert [cache.put(number, image_of(number)) for number in range(IMAGES)] == [True] * 4 + [False] * (IMAGES - 4)
    assert cache.refusal == os.strerror(errno.ENOSPC)
    monkeypatch.undo()
    assert check(cache) == 4
    assert check(filled(tmp_path / "c")) == IMAGES


def test_a_disk_is_not_filled_to_the_brim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "FREE_BYTES", 2**60)
    cache = filled(tmp_path / "c")
    assert check(cache) == 0
    assert cache.refusal is not None
    assert "free on the disk" in cache.refusal


def test_the_key_is_contents_side_and_decoding(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_DECODED_GB", "1")
    keys = [("a", 10, 64, "1"), ("b", 10, 64, "1"), ("a", 10, 65, "1"), ("a", 10, 64, "2"), ("a", 10, 64, "1")]
    opened = [open_decoded(*key) for key in keys]
    folders = [cache.folder for cache, _ in opened if cache is not None]
    assert len(folders) == 5
    assert len(set(folders)) == 4
    assert folders[0] == folders[4]
    assert all(folder.parent == own_cache / "decoded" for folder in folders)
    assert opened[0][1] == f"decoded images are kept in {folders[0]} (none yet)"


def test_where_nothing_can_be_written_images_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "decoded").write_text("a file where the folder would be")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    monkeypatch.setenv("MOBILENETS_DECODED_GB", "1")
    cache, where = open_decoded("a", 10, 64, "1")
    assert cache is None
    assert where.startswith(f"decoded images are kept in memory ({tmp_path / 'decoded'}: ")

    def read_only(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "decoded").unlink()
    monkeypatch.setattr(os, "open", read_only)
    cache, where = open_decoded("a", 10, 64, "1")
    assert cache is None
    assert os.strerror(errno.EROFS) in where


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_a_bound_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_DECODED_GB", text)
    with pytest.raises(UserError, match=f"MOBILENETS_DECODED_GB '{text}'.*allowed is"):
        bound_bytes()


def test_the_bound_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, size in (("0.5", 500_000_000), ("0", 0), ("", 10_000_000_000)):
        monkeypatch.setenv("MOBILENETS_DECODED_GB", text)
        assert bound_bytes() == size
    monkeypatch.setenv("MOBILENETS_DECODED_GB", "0")
    assert open_decoded("a", 10, 64, "1") == (None, "decoded images are kept in memory (MOBILENETS_DECODED_GB is 0)")
