"""An HTTP server for a folder: with byte ranges or without, and one that fails as asked."""

from __future__ import annotations

import http.server
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from running import running


class FolderServer(http.server.ThreadingHTTPServer):
    """Serves `folder`; `ranges`: whether parts are sent; `faults`: what the next answers do ("500", "cut", "404")."""

    def __init__(self, folder: Path, handler: type[Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.folder = folder
        self.ranges = True
        self.faults: list[str] = []
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, range
        self.sent = 0  # bytes of bodies

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: FolderServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.command, self.path, wanted))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        path = self.server.folder / self.path.lstrip("/")
        if fault.isdecimal() or not path.is_file():
            self.send_error(int(fault or 404))
            return
        data, status, whole = path.read_bytes(), 200, path.stat().st_size
        headers = {}
        if wanted and self.server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= whole:
                self.send_error(416)
                return
            data, status = data[int(first) : int(last) + 1], 206
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(data) - 1}/{whole}"
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            data = data[: len(data) // 2] if fault == "cut" else data
            self.server.sent += len(data)
            with suppress(OSError):  # the reader may have left
                self.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """The server, running in a thread until the block ends."""
    with running(FolderServer(folder)) as server:
        yield server
