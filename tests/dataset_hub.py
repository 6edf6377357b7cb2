"""The Hugging Face Hub with one data set, on 127.0.0.1, as its file system asks for it: lists, and ranges of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from running import running
from shardserver import FolderServer, Handler

REPO = "someone/pictures"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class DatasetHub(FolderServer):
    """The files of `folder` as the data set REPO; what is asked and how it fails as in `FolderServer`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _HubHandler)


class _HubHandler(Handler):
    server: DatasetHub

    def do_POST(self) -> None:
        """What is known of the paths that are named."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith(f"/api/datasets/{REPO}/paths-info/"):
            paths = [self.server.folder / path for path in asked["paths"]]
            self._json([self._info(path) for path in paths if path.exists()])
        else:
            self.send_error(404)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/"
        if path.startswith(f"{api}/tree/"):
            below = self.server.folder.joinpath(*path.removeprefix(f"{api}/tree/").split("/")[1:])
            self._json([self._info(each) for each in sorted(below.rglob("*"))])
        elif path.startswith(api):
            self._json({"id": REPO, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": []})
        elif path.startswith(files):
            self.path = "/" + path.removeprefix(files).split("/", 1)[1]
            super()._answer(body=body)
        else:
            self.send_error(404)

    def _info(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.server.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        data = path.read_bytes()
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name, "lfs": large}

    def _json(self, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving_hub(folder: Path) -> Iterator[DatasetHub]:
    """The Hub, running in a thread until the block ends."""
    with running(DatasetHub(folder)) as server:
        yield server
