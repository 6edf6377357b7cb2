"""Byte ranges of files wherever they lie: on disk, behind HTTP, or in an object store through fsspec."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .. import __version__
from ..console import warn
from ..errors import UserError
from . import download
from .addresses import is_remote

BLOCK_BYTES = 4 * 2**20
KEPT_BLOCKS = 16
_SKIPPED = 1 << 20  # bytes at a time of what a server sends before the part that was asked for

T = TypeVar("T")


class ShardError(UserError, OSError):
    """A shard that is gone, cut, changed or out of reach: one line that names it."""


class RangeFile(Protocol):
    """A file of which any part can be read, by several threads at once."""

    address: str

    def size(self) -> int:
        """Bytes of the file."""

    def stamp(self) -> str:
        """What changes when the file's content does, as far as the place tells: time, tag, size."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, fewer only where the file ends. Raises ShardError."""


def open_ranges(address: str) -> RangeFile:
    """The file at a path, an http(s) address, or any other that fsspec knows. Nothing is read yet."""
    if not is_remote(address):
        return LocalFile(address)
    if address.lower().startswith(("http://", "https://")):
        return HttpFile(address)
    return StoreFile(address)


class LocalFile:
    """A file on disk. It is opened anew for each read: thousands of shards would use up the descriptors."""

    def __init__(self, address: str) -> None:
        self.address = address

    def size(self) -> int:
        """Bytes of the file."""
        return self._status().st_size

    def stamp(self) -> str:
        """Size and time of the last change."""
        status = self._status()
        return f"{status.st_size}-{status.st_mtime_ns}"

    def read(self, start: int, end: int) -> bytes:
        """See `RangeFile`."""
        try:
            descriptor = os.open(self.address, os.O_RDONLY)
            try:
                return os.pread(descriptor, end - start, start)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _gone(self.address, error) from None

    def _status(self) -> os.stat_result:
        try:
            return os.stat(self.address)
        except OSError as error:
            raise _gone(self.address, error) from None


class HttpFile:
    """A file behind HTTP. A server that sends whole files only is read too, what comes before is thrown away."""

    _told: set[str] = set()  # noqa: RUF012 - hosts that a warning was given for, once per process

    def __init__(self, address: str) -> None:
        self.address = address
        self._size: int | None = None
        self._stamp = ""

    def size(self) -> int:
        """Bytes of the file, asked once."""
        if self._size is None:
            self._size, self._stamp = _persist(self.address, self._head)
        return self._size

    def stamp(self) -> str:
        """Size and the server's tag or date."""
        return f"{self.size()}-{self._stamp}"

    def read(self, start: int, end: int) -> bytes:
        """See `RangeFile`; what breaks off is asked for again from where it broke."""
        got = bytearray()

        def more() -> bytes:
            self._append(got, start, end)
            return bytes(got)

        return _persist(self.address, more)

    def _head(self) -> tuple[int, str]:
        with _answer(self.address, {"Range": "bytes=0-0"}) as response:  # a signed address allows GET alone
            if response is None:
                return 0, ""
            headers = response.headers
            length = headers.get("Content-Length") or ""
            if response.status == 206:
                length = (headers.get("Content-Range") or "").rpartition("/")[2]
            tag = headers.get("ETag") or headers.get("Last-Modified") or ""
        if not length.isdecimal():
            raise ShardError(f"{self.address}: the server does not say how long the file is")
        return int(length), tag

    def _append(self, got: bytearray, start: int, end: int) -> None:
        begin = start + len(got)
        if begin >= end:
            return
        with _answer(self.address, {"Range": f"bytes={begin}-{end - 1}"}) as response:
            if response is None:  # beyond the end of the file
                return
            if response.status != 206:
                self._skip(response, begin)
            while len(got) < end - start and (piece := response.read(min(_SKIPPED, end - start - len(got)))):
                got += piece
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            last = int(whole) if response.status == 206 and whole.isdecimal() else None
        if len(got) < end - start and (last is None or start + len(got) < min(end, last)):
            if last is None and start + len(got) >= self.size():
                return
            raise ConnectionResetError(f"broke off after {len(got):,} of {end - start:,} bytes")

    def _skip(self, response: Any, count: int) -> None:
        host = self.address.split("/")[2]
        if count and host not in self._told:
            self._told.add(host)
            warn(f"{host} sends whole files only, no parts of them: every read costs what lies before it too")
        while count and (piece := response.read(min(_SKIPPED, count))):
            count -= len(piece)


class StoreFile:
    """A file in a store that fsspec reaches: s3, gs, hf, abfs, ftp, memory, …"""

    def __init__(self, address: str) -> None:
        self.address = address
        self._fs, self._path = file_system(address)
        # a file that is opened for one part of it reads ahead by megabytes unless told not to
        self._exact = {} if getattr(self._fs, "async_impl", False) else {"cache_type": "none"}

    def size(self) -> int:
        """Bytes of the file."""
        return int(self._info()["size"])

    def stamp(self) -> str:
        """Size, and the tag or time that the store states."""
        info = self._info()
        known = (info.get(key) for key in ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "mtime", "created"))
        return f"{info['size']}-{next((value for value in known if value is not None), '')}"

    def read(self, start: int, end: int) -> bytes:
        """See `RangeFile`."""
        return _persist(
            self.address,
            lambda: bytes(of_store(self._fs.cat_file, self._path, start=start, end=end, **self._exact)),
        )

    def _info(self) -> dict[str, Any]:
        return _persist(self.address, lambda: of_store(self._fs.info, self._path))


def of_store(call: Callable[..., T], *given: Any, **settings: Any) -> T:
    """What a file system's function returns. A store's client raises kinds of its own; they become ConnectionError."""
    try:
        return call(*given, **settings)
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. Raises UserError naming what is to be installed."""
    try:
        import fsspec
    except ImportError:
        raise UserError(f'{address}: needs fsspec: pip install "mobilenets[shards]"') from None
    scheme = address.split("://")[0]
    download.refuse_offline(address) if scheme not in ("memory", "file") else None
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise UserError(f"{address}: {scheme}:// needs another package: {error}") from None
    except ValueError as error:
        raise UserError(f"{address}: {error}") from None
    return fs, path


class Blocks:
    """Small reads of remote files in any order, served from blocks of 4 MiB of which the last 16 are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[tuple[str, int], threading.Lock] = {}

    def read(self, file: RangeFile, start: int, end: int) -> bytes:
        """As `RangeFile.read`, block by block."""
        parts = []
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            base = number * BLOCK_BYTES
            parts.append(self._block(file, number)[max(start - base, 0) : end - base])
        return b"".join(parts)

    def _block(self, file: RangeFile, number: int) -> bytes:
        key = (file.address, number)
        with self._lock:
            turn = self._busy.setdefault(key, threading.Lock())
        with turn:  # a second thread that wants the same block waits for the first one's
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            data = file.read(number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES)
            with self._lock:
                self._kept[key] = data
                self._busy.pop(key, None)
                if len(self._kept) > KEPT_BLOCKS:
                    self._kept.popitem(last=False)
            return data


def _persist(address: str, act: Callable[[], T]) -> T:
    """What `act` returns, tried again with growing pauses while the connection is at fault. Raises ShardError."""
    for attempt in range(download.ATTEMPTS):
        try:
            return act()
        except UserError:
            raise
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise _gone(address, error) from None
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            if attempt + 1 < download.ATTEMPTS:
                time.sleep(download.RETRY_SECONDS * 2**attempt)
    raise ShardError(f"{address}: cannot be read, tried {download.ATTEMPTS} times ({reason})")


def _answer(address: str, headers: dict[str, str]) -> Any:
    """The server's answer as a context; None inside it where the range lies beyond the file's end."""
    download.refuse_offline(address)
    url = download.mirrored(address)
    sent = headers | {"User-Agent": f"mobilenets/{__version__}", "Accept-Encoding": "identity"}
    try:
        return urlopen(Request(url, headers=sent), timeout=download.TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            return _NOTHING
        if error.code >= 500 or error.code in (408, 429):
            raise ConnectionError(f"the server answers {error.code}") from None
        raise ShardError(f"{url}: the server answers {error.code} ({error.reason})") from None
    except URLError as error:
        raise ConnectionError(str(error.reason)) from None


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()


def _gone(address: str, error: OSError) -> ShardError:
    return ShardError(f"{address}: {error.strerror or 'no such file'}")
