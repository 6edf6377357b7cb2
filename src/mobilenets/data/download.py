"""Downloads that end as the whole right file or as one clear line: resumed, size and SHA-256 checked, from a mirror.

`MOBILENETS_MIRROR` names a base address that stands before host and path of every file: with `http://localhost:8000`
the file of `https://example.org/a/b.zip` is fetched from `http://localhost:8000/example.org/a/b.zip` (the layout that
`wget --force-directories` makes).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from .. import __version__
from ..console import progress
from ..errors import UserError

ATTEMPTS = 4  # in all; each goes on where the one before broke off
TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 1.0  # doubled after each attempt
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One file to download: where it is, its exact size in bytes and its SHA-256."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


def download(file: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, downloaded unless it is there; it appears under its name only once its hash is right.

    What has arrived is kept in `<name>.part`, from which this or a later call goes on. Raises UserError, one line, when
    the server cannot be reached, has no such file, or sends another file (of which nothing is left), and when the
    connection keeps breaking off.
    """
    target = folder / f"{file.sha256[:12]}-{file.name}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with alone(target.with_name(target.name + ".lock")):
        if target.exists():  # another process was quicker
            return target
        _refuse_full_disk(folder, file, part)
        with progress() as bar:
            task = bar.add_task(f"downloading {file.name}", total=round(file.size / 1e6), note="MB")
            _fetch(file, part, lambda done: bar.update(task, completed=round(done / 1e6)))
        if _sha256(part) != file.sha256:
            part.unlink()
            raise UserError(
                f"{mirrored(file.url)}: not the expected file (its SHA-256 differs); nothing was kept. The file may "
                "have been changed at its source or on the way"
            )
        os.replace(part, target)
    return target


def mirrored(url: str) -> str:
    """The address itself, or that below `MOBILENETS_MIRROR`. UserError when the mirror is no http(s) address."""
    mirror = os.environ.get("MOBILENETS_MIRROR", "").rstrip("/")
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise UserError(f"MOBILENETS_MIRROR={mirror}: an address that begins with http:// or https:// is expected")
    parts = urlsplit(url)
    return f"{mirror}/{parts.netloc}{parts.path}"


def _fetch(file: RemoteFile, part: Path, report: Any) -> None:
    """Fills `part` up to the file's size, in as many attempts as are allowed."""
    for attempt in range(ATTEMPTS):
        try:
            _append(file, part, report)
            return
        except (_BrokenOffError, TimeoutError, ConnectionError, http.client.HTTPException):
            if attempt + 1 < ATTEMPTS:
                time.sleep(RETRY_SECONDS * 2**attempt)
    done = part.stat().st_size if part.exists() else 0
    raise UserError(
        f"{mirrored(file.url)}: the connection broke off {ATTEMPTS} times, at {done:,} of {file.size:,} bytes; "
        "the same command goes on from there"
    )


def _append(file: RemoteFile, part: Path, report: Any) -> None:
    """One request for what is missing of the file."""
    done = part.stat().st_size if part.exists() else 0
    if done > file.size:
        part.unlink()
        done = 0
    if done == file.size:
        return
    with _open(file, done) as response:
        resumed = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-")
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        if length is not None and length.isdecimal() and int(length) != file.size - done:
            part.unlink(missing_ok=True)
            raise UserError(
                f"{mirrored(file.url)}: the server's file has {int(length) + done:,} bytes, {file.size:,} are "
                "expected; nothing was kept"
            )
        with open(part, "ab" if resumed else "wb") as out:
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if done > file.size:
                    break
                out.write(chunk)
                report(done)
    if done > file.size:
        part.unlink()
        raise UserError(f"{mirrored(file.url)}: longer than the expected {file.size:,} bytes; nothing was kept")
    if done < file.size:
        raise _BrokenOffError


def _open(file: RemoteFile, done: int) -> Any:
    url = mirrored(file.url)
    headers = {"User-Agent": f"mobilenets/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code >= 500 or error.code == 429:
            raise _BrokenOffError from error
        raise UserError(f"{url}: the server answers {error.code} ({error.reason})") from error
    except URLError as error:
        if isinstance(error.reason, (TimeoutError, ConnectionResetError)):
            raise _BrokenOffError from error
        raise UserError(
            f"{url}: cannot be reached ({error.reason}); this download needs the internet once "
            "(MOBILENETS_MIRROR names another place)"
        ) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _refuse_full_disk(folder: Path, file: RemoteFile, part: Path) -> None:
    missing = file.size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise UserError(
            f"{folder}: {free / 1e6:.0f} MB are free, {file.name} needs {missing / 1e6:.0f} MB "
            "(MOBILENETS_CACHE names another folder)"
        )


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lets one process at a time in, where the system has such locks; a killed process holds none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as f:
        _lock(f)
        yield


def _lock(file: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two downloads at once end in a wrong hash and one line, not in wrong data
        return
    fcntl.flock(file, fcntl.LOCK_EX)
