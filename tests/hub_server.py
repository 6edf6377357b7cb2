"""A Hugging Face Hub with its file store, and a plain mirror of other hosts, on 127.0.0.1; it can misbehave on demand.

The Hub answers as huggingface.co does to huggingface_hub's questions: HEAD and GET of /<repo>/resolve/<revision>/<file>
with X-Repo-Commit and ETag (git's SHA-1) for small files, and for large ones a redirect to the store, another server,
with X-Linked-ETag (SHA-256) and X-Linked-Size. The mirror has the layout that MOBILENETS_MIRROR asks for.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1000  # bytes from which a file lies in the store
FORGOTTEN = ("MOBILENETS_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "MOBILENETS_MIRROR", "HF_ENDPOINT")


@dataclass
class Places:
    """What the servers hold, how they are to misbehave, and what they were asked.

    `files` by path: /<repo>/<file> of the Hub, /<host>/<path> of the mirror. `served` replaces the content of a path
    without its hash. `faults` are answers by path: (status, headers). `cut_after` are bytes after which each coming
    transfer breaks off.
    """

    address: str = ""
    store: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    tags: bool = True  # the mirror sends ETag, and Google's MD5

    def put_repository(self, repo: str, weights: bytes) -> None:
        """A repository as timm's: model.safetensors and config.json."""
        self.files[f"/{repo}/model.safetensors"] = weights
        self.files[f"/{repo}/config.json"] = json.dumps({"architecture": repo.rpartition("/")[2]}).encode()


class _Handler(BaseHTTPRequestHandler):
    places: Places

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        """Silent."""

    def _answer(self) -> None:
        places = self.places
        places.asked.append((self.command, self.path, self.headers.get("Range", "")))
        path = self.path.partition("?")[0]
        on_hub = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        key = f"/{on_hub[1]}/{on_hub[2]}" if on_hub else path.removeprefix("/store")
        if key in places.faults:
            status, headers = places.faults[key]
            return self._send(status, b"", headers)
        if key not in places.files:
            known = on_hub and any(file.startswith(f"/{on_hub[1]}/") for file in places.files)
            missing = {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"} if on_hub else {}
            return self._send(404 if known or not on_hub else 401, b"", missing)
        data = places.files[key]
        if not on_hub:
            return self._transfer(key, data)
        if len(data) >= LARGE:
            linked = {"X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
            location = {"Location": f"{places.store}/store{key}", "X-Repo-Commit": COMMIT}
            return self._send(302, b"", linked | location)
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return self._send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{git}"'})

    def _transfer(self, key: str, data: bytes) -> None:
        """The file itself, from the asked place on."""
        data = self.places.served.get(key, data)
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.headers.get("If-Range", tag) != tag:
            asked = None
        start = int(asked[1]) if asked else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        if self.places.tags:
            md5 = base64.b64encode(hashlib.md5(self.places.files[key]).digest()).decode()
            headers |= {"ETag": tag, "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}
        self._send(206 if asked else 200, data[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if body and self.places.cut_after and status in (200, 206) and len(body) >= LARGE:
            body = body[: self.places.cut_after.pop(0)]
            self.close_connection = True
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


@contextlib.contextmanager
def running_places() -> Iterator[Places]:
    """The servers, up for the length of the block."""
    places = Places()
    handler = type("Handler", (_Handler,), {"places": places})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    threads = [threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01}) for each in servers]
    for thread in threads:
        thread.start()
    places.address, places.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield places
    finally:
        for server in servers:
            server.shutdown()
        for thread in threads:
            thread.join()
        for server in servers:
            server.server_close()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Places]:
    """The servers as the only places that this process knows, and an empty cache in tmp_path / "cache"."""
    for name in FORGOTTEN:
        monkeypatch.delenv(name, raising=False)
    with running_places() as running:
        for name, value in environment(running, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        constants = pytest.importorskip("huggingface_hub.constants")
        # read when the library was imported; telemetry would ask huggingface.co who is calling
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        yield running


def environment(places: Places, cache: Path) -> dict[str, str]:
    """What a process needs to know the servers alone."""
    return {
        "HF_ENDPOINT": places.address,
        "MOBILENETS_MIRROR": places.address,
        "MOBILENETS_CACHE": str(cache),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }


def start_python(code: str, places: Places, cache: Path) -> subprocess.Popen[str]:
    """A new interpreter that runs `code` and knows the servers alone."""
    known = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=known | environment(places, cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def leftovers(cache: Path) -> list[str]:
    """The files in the cache that hold anything, locks and tags left out, by their names."""
    skipped = (".lock", ".tag", "CACHEDIR.TAG")
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(skipped))
