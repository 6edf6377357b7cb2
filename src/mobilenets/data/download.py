"""Downloads that end as the whole right file or as one clear line: resumed, checked, from a mirror, or not at all.

`MOBILENETS_MIRROR` names a base address that stands before host and path of every file: with `http://localhost:8000`
the file of `https://example.org/a/b.zip` is fetched from `http://localhost:8000/example.org/a/b.zip` (the layout that
`wget --force-directories` makes). `MOBILENETS_OFFLINE=1` or `HF_HUB_OFFLINE=1` forbids every download.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import http.client
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from .. import __version__
from ..console import progress
from ..digest import digest
from ..errors import UserError

ATTEMPTS = 4  # in all; each goes on where the one before broke off
TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 1.0  # doubled after each attempt
OFFLINE_SETTINGS = ("MOBILENETS_OFFLINE", "HF_HUB_OFFLINE")
_CHUNK = 1 << 20

Report = Callable[[int, int | None], None]  # bytes there, bytes in all where known


@dataclass(frozen=True)
class RemoteFile:
    """One file to download: where it is, and what is published of it.

    `size` in bytes, None where unknown; `sha256` whole or its first digits, `md5` whole, empty where unknown. What is
    not published is taken from the server's answer: its size, and the MD5 that Google's storage states.
    """

    url: str
    size: int | None = None
    sha256: str = ""
    md5: str = ""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def key(self) -> str:
        """Twelve digits at most that stand for the content, or for the address where no hash is published."""
        return (self.sha256 or self.md5 or hashlib.sha256(self.url.encode()).hexdigest())[:12]


@dataclass
class _Stated:
    """What the server says of the file: size in bytes, MD5, and a tag that changes with its content."""

    size: int | None = None
    md5: str = ""
    tag: str = ""


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


def download(file: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, downloaded unless it is there; it appears under its name only once it is checked.

    What has arrived is kept in `<name>.part`, from which this or a later call goes on; where no hash is published a
    later call does so only if the server tells that the file is still the same. Raises UserError, one line, when
    downloads are forbidden, when the server cannot be reached, has no such file, or sends another file (of which
    nothing is left), when the disk is full, and when the connection keeps breaking off.
    """
    target = folder / f"{file.key}-{file.name}"
    if target.exists():
        return target
    refuse_offline(file.url)
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with alone(target.with_name(target.name + ".lock")):
        if target.exists():  # another process was quicker
            return target
        _refuse_full_disk(folder, file, file.size, part)
        with progress() as bar:
            task = bar.add_task(f"downloading {file.name}", total=None, note="MB")

            def report(done: int, size: int | None) -> None:
                bar.update(task, completed=round(done / 1e6), total=None if size is None else round(size / 1e6))

            stated = _fetch(file, part, report)
        wrong = _difference(file, part, stated)
        if wrong:
            part.unlink()
            raise UserError(
                f"{mirrored(file.url)}: not the expected file (its {wrong} differs); nothing was kept. The file may "
                "have been changed at its source or on the way"
            )
        os.replace(part, target)
        _tag_file(part).unlink(missing_ok=True)
    return target


def refuse_offline(address: str) -> None:
    """Nothing; UserError where the environment forbids downloads. `address` is what would be fetched."""
    for setting in OFFLINE_SETTINGS:
        value = os.environ.get(setting, "")
        if value.strip().lower() in ("1", "true", "yes", "on"):
            raise UserError(f"{address}: not in the cache, and {setting}={value} forbids to download it")


def mirrored(url: str) -> str:
    """The address itself, or that below `MOBILENETS_MIRROR`. UserError when the mirror is no http(s) address."""
    mirror = os.environ.get("MOBILENETS_MIRROR", "").rstrip("/")
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise UserError(f"MOBILENETS_MIRROR={mirror}: an address that begins with http:// or https:// is expected")
    parts = urlsplit(url)
    return f"{mirror}/{parts.netloc}{parts.path}"


def _fetch(file: RemoteFile, part: Path, report: Report) -> _Stated:
    """Fills `part` with the whole file, in as many attempts as are allowed."""
    stated = _Stated(file.size)
    with suppress(OSError):
        stated.tag = _tag_file(part).read_text()
    for attempt in range(ATTEMPTS):
        try:
            _append(file, part, stated, report)
            return stated
        except (_BrokenOffError, TimeoutError, ConnectionError, http.client.HTTPException):
            if attempt + 1 < ATTEMPTS:
                time.sleep(RETRY_SECONDS * 2**attempt)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{part.parent}: the disk is full at {_size(part):,} bytes of {file.name}; the same command goes on "
                "from there (MOBILENETS_CACHE names another folder)"
            ) from None
    of = "" if stated.size is None else f" of {stated.size:,}"
    raise UserError(
        f"{mirrored(file.url)}: the connection broke off {ATTEMPTS} times, at {_size(part):,}{of} bytes; "
        "the same command goes on from there"
    )


def _append(file: RemoteFile, part: Path, stated: _Stated, report: Report) -> None:
    """One request for what is missing of the file; `stated` receives what the server says of the whole."""
    done = _size(part)
    known = bool(file.sha256 or file.md5)  # without a hash only the server's tag tells that the parts fit together
    if (stated.size is not None and done > stated.size) or (done and not known and not stated.tag):
        part.unlink()
        done = 0
    if done and done == stated.size and known:
        return
    with _open(file, part, done, "" if known else stated.tag) as response:
        resumed = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-")
        done = done if resumed else 0
        _read_headers(file, part, response, done, stated)
        _refuse_full_disk(part.parent, file, stated.size, part)
        with open(part, "ab" if resumed else "wb") as out:
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if stated.size is not None and done > stated.size:
                    break
                out.write(chunk)
                report(done, stated.size)
    if stated.size is not None and done > stated.size:
        part.unlink()
        raise UserError(f"{mirrored(file.url)}: longer than the expected {stated.size:,} bytes; nothing was kept")
    if stated.size is not None and done < stated.size:
        raise _BrokenOffError


def _read_headers(file: RemoteFile, part: Path, response: Any, done: int, stated: _Stated) -> None:
    """Takes from the answer what it says of the whole file. UserError where that is not the expected file."""
    length = response.headers.get("Content-Length") or ""
    size = int(length) + done if length.isdecimal() else None
    if file.size is not None and size not in (None, file.size):
        part.unlink(missing_ok=True)
        raise UserError(
            f"{mirrored(file.url)}: the server's file has {size:,} bytes, {file.size:,} are expected; nothing was kept"
        )
    chunked = (response.headers.get("Transfer-Encoding") or "").lower() == "chunked"  # its end is marked
    if size is None and file.size is None and not (chunked or file.sha256 or file.md5):
        raise UserError(f"{mirrored(file.url)}: the server does not say how long the file is, so a cut one would pass")
    stated.size = size if file.size is None else file.size
    found = re.search(r"md5=([A-Za-z0-9+/]{22}==)", ",".join(response.headers.get_all("x-goog-hash") or ()))
    with suppress(binascii.Error):
        stated.md5 = base64.b64decode(found[1]).hex() if found else ""
    tag = response.headers.get("ETag") or ""
    stated.tag = "" if tag.startswith("W/") else tag
    if not (file.sha256 or file.md5):
        _tag_file(part).write_text(stated.tag)


def _open(file: RemoteFile, part: Path, done: int, tag: str) -> Any:
    url = mirrored(file.url)
    headers = {"User-Agent": f"mobilenets/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if tag:
            headers["If-Range"] = tag
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the part is as long as the server's file, or longer: begin again
            part.unlink(missing_ok=True)
        if error.code >= 500 or error.code in (416, 429):
            raise _BrokenOffError from error
        raise UserError(f"{url}: the server answers {error.code} ({error.reason})") from error
    except URLError as error:
        if isinstance(error.reason, (TimeoutError, ConnectionResetError)):
            raise _BrokenOffError from error
        raise UserError(
            f"{url}: cannot be reached ({error.reason}); this download needs the internet once "
            "(MOBILENETS_MIRROR names another place)"
        ) from error


def _difference(file: RemoteFile, part: Path, stated: _Stated) -> str:
    """What of the finished part is not as published, or not as the server states: SHA-256, MD5 or nothing."""
    if file.sha256:
        return "" if digest(part, "sha256").startswith(file.sha256) else "SHA-256"
    md5 = file.md5 or stated.md5
    return "MD5" if md5 and digest(part, "md5") != md5 else ""


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _refuse_full_disk(folder: Path, file: RemoteFile, size: int | None, part: Path) -> None:
    missing = 0 if size is None else size - _size(part)
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
