"""The real download code against a local server: whole, resumed, refused, and one line for every fault."""

from __future__ import annotations

import base64
import contextlib
import errno
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
    headers: list[tuple[str, str]] = field(default_factory=list)  # sent with every file
    state_size: bool = True


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
            if self.headers.get("If-Range", "") not in ("", dict(state.headers).get("ETag")):
                start = 0
            if start and start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if state.state_size:
                self.send_header("Content-Length", str(len(data) - start))
            for name, value in state.headers:
                self.send_header(name, value)
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
    for setting in module.OFFLINE_SETTINGS:
        monkeypatch.delenv(setting, raising=False)
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
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith((".lock", ".tag")))


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


# What is not published is taken from the server's answer.

NOTHING_KNOWN = RemoteFile(URL)
MD5 = hashlib.md5(CONTENT)


def google_hash(md5: bytes) -> list[tuple[str, str]]:
    return [("x-goog-hash", "crc32c=n03x6A=="), ("x-goog-hash", f"md5={base64.b64encode(md5).decode()}")]


def test_a_file_of_which_nothing_is_published(server: Server, tmp_path: Path) -> None:
    path = download(NOTHING_KNOWN, tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name.endswith("-set.zip")
    assert leftovers(tmp_path) == [path.name]
    assert download(NOTHING_KNOWN, tmp_path) == path
    assert server.ranges == [None]


def test_an_unknown_size_is_that_of_the_answer(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.headers = [1_000_000], [("ETag", '"one"')]
    assert download(NOTHING_KNOWN, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-"]


def test_without_size_and_hash_a_cut_file_would_pass(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.state_size = False
    assert "does not say how long the file is" in refusal(NOTHING_KNOWN, tmp_path)
    assert leftovers(tmp_path) == []
    assert download(replace(file, size=None), tmp_path).read_bytes() == CONTENT
    server.cut_after = [1_000_000]
    assert "SHA-256 differs" in refusal(replace(file, size=None), tmp_path / "cut")


def test_the_first_digits_of_a_hash(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    short = RemoteFile(URL, sha256=file.sha256[:8])
    path = download(short, tmp_path)
    assert path.name == f"{file.sha256[:8]}-set.zip"
    assert "SHA-256 differs" in refusal(RemoteFile(URL, sha256="01234567"), tmp_path)
    assert leftovers(tmp_path) == [path.name]


def test_an_md5(server: Server, tmp_path: Path) -> None:
    assert download(RemoteFile(URL, md5=MD5.hexdigest()), tmp_path).read_bytes() == CONTENT
    assert "MD5 differs" in refusal(RemoteFile(URL, md5="0" * 32), tmp_path)


def test_the_md5_that_google_s_storage_states(server: Server, tmp_path: Path) -> None:
    server.headers = google_hash(MD5.digest())
    download(NOTHING_KNOWN, tmp_path / "right")
    server.headers = google_hash(bytes(16))
    assert "MD5 differs" in refusal(NOTHING_KNOWN, tmp_path / "wrong")
    assert leftovers(tmp_path / "wrong") == []


@pytest.mark.parametrize(
    ("tag", "later", "asked"),
    [
        ('"one"', '"one"', "bytes=40000-"),  # the same file: it goes on
        ('"one"', '"two"', "bytes=40000-"),  # another one: the server sends all of it
        ('W/"one"', 'W/"one"', None),  # a weak tag does not promise the same bytes
        ("", "", None),
    ],
)
def test_without_a_hash_a_later_call_goes_on_only_in_the_same_file(
    server: Server, tmp_path: Path, tag: str, later: str, asked: str | None
) -> None:
    server.headers = [("ETag", tag)] if tag else []
    server.cut_after = [40_000] + [0] * (ATTEMPTS - 1) if tag == '"one"' else [40_000] * ATTEMPTS
    refusal(NOTHING_KNOWN, tmp_path)
    other = bytes(reversed(CONTENT)) if later != tag else CONTENT
    server.files["/example.org/data/set.zip"] = other
    server.headers = [("ETag", later)] if later else []
    server.ranges.clear()
    assert download(NOTHING_KNOWN, tmp_path).read_bytes() == other
    assert server.ranges == [asked]


def test_a_part_as_long_as_the_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.headers = [("ETag", '"one"')]
    server.cut_after = [40_000] + [0] * (ATTEMPTS - 1)
    refusal(NOTHING_KNOWN, tmp_path)
    server.files["/example.org/data/set.zip"] = CONTENT[:40_000]
    server.ranges.clear()
    assert download(NOTHING_KNOWN, tmp_path).read_bytes() == CONTENT[:40_000]
    assert server.ranges == ["bytes=40000-", None]


def test_a_disk_that_fills_up_on_the_way(
    server: Server, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._append

    def full(*arguments: object) -> None:
        real(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_append", full)
    assert f"{tmp_path}: the disk is full at 3,072,000 bytes of set.zip" in refusal(file, tmp_path)


@pytest.mark.parametrize("setting", module.OFFLINE_SETTINGS)
def test_offline(
    server: Server, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    path = download(file, tmp_path)
    monkeypatch.setenv(setting, "true")
    assert download(file, tmp_path) == path
    path.unlink()
    assert refusal(file, tmp_path) == f"{URL}: not in the cache, and {setting}=true forbids to download it"
    monkeypatch.setenv(setting, "0")
    assert download(file, tmp_path) == path
