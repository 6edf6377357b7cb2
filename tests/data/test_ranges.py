"""Parts of files on disk, behind HTTP and in stores: whole after faults, clear when there is no help."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilenets.data import download, ranges
from mobilenets.data.ranges import Blocks, ShardError, open_ranges
from mobilenets.errors import UserError
from shardserver import FolderServer, serving

DATA = bytes(range(256)) * 64  # 16 KiB


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderServer]:
    (tmp_path / "data.tar").write_bytes(DATA)
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)
    with serving(tmp_path) as running:
        yield running


def places(server: FolderServer) -> list[str]:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/ranges/data.tar", DATA)
    return [str(server.folder / "data.tar"), f"{server.address}/data.tar", "memory://ranges/data.tar"]


@pytest.mark.parametrize("with_ranges", [True, False])
def test_every_place_gives_the_same_bytes(server: FolderServer, with_ranges: bool) -> None:
    server.ranges = with_ranges
    for place in places(server):
        file = open_ranges(place)
        assert file.size() == len(DATA)
        for start, end in ((0, 10), (300, 1300), (len(DATA) - 5, len(DATA)), (len(DATA) - 5, len(DATA) + 50)):
            assert file.read(start, end) == DATA[start:end], (place, start, end)
        assert file.read(len(DATA), len(DATA) + 5) == b""


def test_only_the_part_is_asked_for(server: FolderServer) -> None:
    assert open_ranges(f"{server.address}/data.tar").read(100, 200) == DATA[100:200]
    assert server.asked == [("GET", "/data.tar", "bytes=100-199")]
    assert server.sent == 100


def test_what_breaks_off_goes_on_where_it_broke(server: FolderServer) -> None:
    server.faults = ["cut", "503", "cut"]
    assert open_ranges(f"{server.address}/data.tar").read(0, 8000) == DATA[:8000]
    assert [wanted for _, _, wanted in server.asked] == [f"bytes={n}-7999" for n in (0, 4000, 4000, 6000)]


def test_a_server_that_stays_at_fault_is_named(server: FolderServer) -> None:
    server.faults = ["500"] * 20
    with pytest.raises(ShardError, match=r"data\.tar: cannot be read, tried 4 times \(the server answers 500\)"):
        open_ranges(f"{server.address}/data.tar").read(0, 10)
    assert len(server.asked) == download.ATTEMPTS


def test_a_file_that_is_gone_is_asked_for_once(server: FolderServer) -> None:
    with pytest.raises(ShardError, match=r"gone\.tar: the server answers 404"):
        open_ranges(f"{server.address}/gone.tar").read(0, 10)
    assert len(server.asked) == 1
    with pytest.raises(ShardError, match=r"gone\.tar: No such file"):
        open_ranges(str(server.folder / "gone.tar")).size()
    pytest.importorskip("fsspec")
    with pytest.raises(ShardError, match=r"gone\.tar: no such file"):
        open_ranges("memory://ranges/gone.tar").read(0, 10)


def test_a_scheme_that_nobody_knows() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(UserError, match=r"nonsense://a/b\.tar: Protocol not known"):
        open_ranges("nonsense://a/b.tar")


def test_offline_forbids(server: FolderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    with pytest.raises(UserError, match="MOBILENETS_OFFLINE=1 forbids"):
        open_ranges(f"{server.address}/data.tar").read(0, 10)
    assert not server.asked


def test_blocks_are_fetched_once_by_many_threads_and_forgotten(
    server: FolderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(ranges, "KEPT_BLOCKS", 3)
    blocks, file = Blocks(), open_ranges(f"{server.address}/data.tar")
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(blocks.read(file, 900, 2100))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [DATA[900:2100]] * 8
    assert len(server.asked) == 3
    assert blocks.read(file, 5000, 5001) == DATA[5000:5001]
    assert blocks.read(file, 0, 1) == DATA[:1]  # was dropped
    assert len(server.asked) == 5


def test_what_a_store_raises_of_its_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)

    class ClientError(Exception):
        """As botocore's and httpx' errors, no OSError."""

    def fails(*_: object, **__: object) -> bytes:
        raise ClientError("slow down")

    monkeypatch.setattr(fsspec.filesystem("memory"), "cat_file", fails)
    with pytest.raises(ShardError, match=r"a\.tar: cannot be read, tried 4 times \(ClientError: slow down\)"):
        open_ranges("memory://ranges/a.tar").read(0, 10)
