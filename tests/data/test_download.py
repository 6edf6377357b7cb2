"""The real download code against a local server: whole, resumed, refused, and one line for every fault."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mobilenets.data import download as module
from mobilenets.data.download import ATTEMPTS, RemoteFile, download, mirrored
from mobilenets.errors import UserError

CONTENT = bytes(range(256)) * 12_000  # 3 MB
URL = "https://example.org/data/set.zip"


@dataclass
class Server:
    """What the server does, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes of each coming answer before the connection drops
    ignore_range: bool = False
    status: list[int] = field(default_factory=list)  # answers before the server behaves
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A mirror on 127.0.0.1 that knows ranges and can be told to misbehave."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status:
                self.send_error(state.status.pop(0))
                return
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and not state.ignore_range else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            body = data[start:]
            if state.cut_after:
                body = body[: state.cut_after.pop(0)]
                self.close_connection = True
            with contextlib.suppress(ConnectionError):  # the client refuses a file of the wrong size at once
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{httpd.server_port}"
    state.files["/example.org/data/set.zip"] = CONTENT
    monkeypatch.setenv("MOBILENETS_MIRROR", state.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def file() -> RemoteFile:
    return RemoteFile(URL, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def refusal(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        download(file, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_whole_file_once(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    path = download(file, tmp_path / "new folder")
    assert path.read_bytes() == CONTENT
    assert leftovers(path.parent) == [path.name]
    assert download(file, path.parent) == path
    assert server.ranges == [None]  # the second call asks nothing


def test_goes_on_after_cut_connections(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.cut_after = [1_000_000, 500_000]
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.cut_after = [10_000] * ATTEMPTS
    assert f"broke off {ATTEMPTS} times, at 40,000 of 3,072,000 bytes" in refusal(file, tmp_path)
    assert [name.endswith(".zip.part") for name in leftovers(tmp_path)] == [True]
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=40000-"


def test_a_server_without_ranges_is_asked_for_everything_again(
    server: Server, file: RemoteFile, tmp_path: Path
) -> None:
    server.cut_after, server.ignore_range = [1_000_000], True
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-"]


def test_a_busy_server_is_asked_again(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.status = [503, 429]
    assert download(file, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_or_too_long(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    part = tmp_path / f"{file.sha256[:12]}-set.zip.part"
    part.write_bytes(CONTENT)
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == []
    (tmp_path / f"{file.sha256[:12]}-set.zip").unlink()
    part.write_bytes(CONTENT + b"more")
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None]


def test_wrong_hash_leaves_nothing(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.files["/example.org/data/set.zip"] = b"x" + CONTENT[1:]
    assert "SHA-256 differs" in refusal(file, tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
def test_wrong_size_leaves_nothing(server: Server, file: RemoteFile, tmp_path: Path, content: bytes) -> None:
    server.files["/example.org/data/set.zip"] = content
    message = refusal(file, tmp_path)
    assert f"has {len(content):,} bytes" in message
    assert "3,072,000 are expected" in message
    assert leftovers(tmp_path) == []


def test_not_found_and_forbidden(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    message = refusal(replace(file, url="https://example.org/gone.zip"), tmp_path)
    assert message == f"{server.address}/example.org/gone.zip: the server answers 404 (Not Found)"
    server.status = [403]
    assert "403" in refusal(file, tmp_path)


def test_nobody_there(server: Server, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://127.0.0.1:9")  # discard: nothing listens
    assert "cannot be reached" in refusal(file, tmp_path)
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://no-such-host.invalid")
    assert "cannot be reached" in refusal(file, tmp_path)
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_seen_before_the_download(
    server: Server, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000})())
    assert "1 MB are free, set.zip needs 3 MB" in refusal(file, tmp_path)
    assert server.ranges == []


def test_two_at_once_download_once(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    threads = [threading.Thread(target=download, args=(file, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]


def test_mirror_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_MIRROR", "")
    assert mirrored(URL) == URL
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://localhost:8000/files/")
    assert mirrored(URL) == "http://localhost:8000/files/example.org/data/set.zip"
    monkeypatch.setenv("MOBILENETS_MIRROR", "file:///etc")
    with pytest.raises(UserError, match="http://"):
        mirrored(URL)
