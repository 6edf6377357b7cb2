"""Published weights in the cache: fetched once from the Hugging Face Hub or by HTTPS, checked, then found there.

The cache is the folder of `cachefolder`. `HF_ENDPOINT` names another Hub, `MOBILENETS_MIRROR` another place for what
comes by HTTPS (see `data.download`); `MOBILENETS_OFFLINE=1` and `HF_HUB_OFFLINE=1` forbid every download.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any

from .. import atomic
from ..cachefolder import cache_folder
from ..console import say
from ..data.download import RemoteFile, alone, download, refuse_offline
from ..errors import UserError
from . import huggingface
from .catalog import PublishedWeights

TFLITE_LIMIT = 256 * 2**20  # bytes of the .tflite in an archive; the largest published one has 24 MB
ARCHIVE_LIMIT = 2 * 2**30  # bytes that an archive may unpack to; the published ones hold checkpoints as well


def fetch(entry: PublishedWeights) -> Path:
    """The file of published weights in the cache, downloaded on the first call; later calls ask nobody.

    Beside the model.safetensors of a Hub repository lies its config.json. Of an archive of Google's the .tflite is
    kept alone. Raises UserError, one line, where the download is forbidden, fails or ends in another file; nothing
    half-written is left that would be taken for the whole.
    """
    there = cached(entry)
    if there is not None:
        return there
    refuse_offline(entry.address)
    if entry.repo:
        _tell(entry)
        return huggingface.fetch(entry.repo, ("config.json", entry.file))
    target = _place(entry)
    with alone(cache_folder() / "downloads" / f"{entry.name}.lock"):
        if target.is_file():  # another process was quicker
            return target
        _tell(entry)
        archive = download(RemoteFile(entry.url, sha256=entry.sha256, md5=entry.md5), cache_folder() / "downloads")
        if entry.url.endswith(".tgz"):
            _unpack(archive, target)
            archive.unlink(missing_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(archive, target)
    return target


def cached(entry: PublishedWeights) -> Path | None:
    """The file where it is in the cache, else None. Asks nobody."""
    if entry.repo:
        return huggingface.cached(entry.repo, ("config.json", entry.file))
    target = _place(entry)
    return target if target.is_file() else None


def _place(entry: PublishedWeights) -> Path:
    return cache_folder() / "weights" / entry.name / entry.file


def _tell(entry: PublishedWeights) -> None:
    size = f", {entry.size_mb:g} MB" if entry.size_mb else ""
    address = f"{huggingface.endpoint()}/{entry.repo}" if entry.repo else entry.url
    say(f"{entry.name}{size} from {address}; licence: {entry.licence or 'not stated for the weights'}")


def _unpack(archive: Path, target: Path) -> None:
    """Writes the archive's one .tflite to `target`, whatever its name and place in there; nothing else is written.

    Where several lie in it, the one of the target's name. A damaged archive is removed, so that it is fetched again.
    """
    try:
        files = _read_tflite(archive)
        chosen = files.get(target.name) if len(files) > 1 else next(iter(files.values()), None)
        if chosen is None:
            raise UserError(
                f"{archive.name}: no {target.name} in it, but {', '.join(sorted(files)) or 'no .tflite file'}"
            )
    except (tarfile.TarError, zlib.error, EOFError) as error:
        archive.unlink()
        reason = " ".join(str(error).split())
        raise UserError(f"{archive.name}: no .tgz archive, or a damaged one ({reason}); nothing was kept") from None
    except UserError:
        archive.unlink()
        raise
    atomic.write_bytes(target, chosen)


def _read_tflite(archive: Path) -> dict[str, bytes]:
    """The .tflite files in the archive by their names without folders; read to the end, where its checksum is."""
    found: dict[str, bytes] = {}
    with open(archive, "rb") as packed:
        unpacked = _Unpacked(archive, packed)
        with tarfile.open(fileobj=unpacked, mode="r|") as members:
            for member in members:
                if not (member.isfile() and member.name.endswith(".tflite")):
                    continue
                if member.size > TFLITE_LIMIT:
                    raise UserError(
                        f"{archive.name}: {member.name!r} has {member.size:,} bytes; at most {TFLITE_LIMIT:,} are read"
                    )
                content = members.extractfile(member)
                found[Path(member.name).name] = b"" if content is None else content.read()
        while unpacked.read(1 << 20):
            pass
    return found


class _Unpacked(io.RawIOBase):
    """The content of a gzip file as a stream that refuses to grow beyond what weights can be."""

    def __init__(self, path: Path, packed: IO[bytes]) -> None:
        self._path, self._packed = path, packed
        self._unpacker, self._left = zlib.decompressobj(wbits=31), ARCHIVE_LIMIT

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        """Up to `size` bytes; fewer at the end. UserError beyond the limit, EOFError where the file is cut off."""
        parts = []
        while size and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._packed.read(1 << 16)
            if not packed:
                raise EOFError("cut off")
            parts.append(self._unpacker.decompress(packed, size))
            size -= len(parts[-1])
            self._left -= len(parts[-1])
            if self._left < 0:
                raise UserError(f"{self._path.name}: unpacks to more than {ARCHIVE_LIMIT:,} bytes: refused")
        return b"".join(parts)
