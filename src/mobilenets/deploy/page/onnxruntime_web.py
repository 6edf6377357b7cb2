"""onnxruntime-web, the library that runs the network in a browser: one pinned version from npm's registry, cached."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...cachefolder import cache_folder
from ...console import say
from ...data.download import RemoteFile, alone, download, refuse_offline
from ...digest import digest
from ...errors import UserError

VERSION = "1.30.0"
PACKAGE = RemoteFile(
    f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    size=33_106_585,
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # npm's
CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/"
_NPM_SECONDS = 300


@dataclass(frozen=True)
class Part:
    """One file of the package: its name there and in the page (not every server knows .mjs), its hash as SRI has it."""

    source: str
    name: str
    integrity: str


PARTS = {
    "wasm": (
        Part(
            "ort.wasm.bundle.min.mjs",
            "ort.wasm.js",
            "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
        ),
        Part(
            "ort-wasm-simd-threaded.wasm",
            "ort-wasm-simd-threaded.wasm",
            "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
        ),
    ),
    "webgpu": (
        Part(
            "ort.webgpu.bundle.min.mjs",
            "ort.webgpu.js",
            "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f",
        ),
        Part(
            "ort-wasm-simd-threaded.asyncify.wasm",
            "ort-wasm-simd-threaded.asyncify.wasm",
            "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
        ),
    ),
}
"""For each device the module and the binary."""


def fetched() -> Path | None:
    """The folder that holds the parts; None, with one line that says why, where they cannot be had."""
    folder = cache_folder() / "onnxruntime-web" / VERSION
    try:
        with alone(folder.with_name(f"{VERSION}.lock")):
            if not _whole(folder):
                _fetch(folder)
    except UserError as error:
        say(f"the page links {CDN} and needs the internet once: {error}")
        return None
    return folder


def _whole(folder: Path) -> bool:
    paths = [(folder / part.name, part.integrity) for parts in PARTS.values() for part in parts]
    return all(path.is_file() and _integrity(path, "sha384") == stated for path, stated in paths)


def _fetch(folder: Path) -> None:
    """Fills the folder from the package. Raises UserError where it cannot be had or is not the pinned one."""
    refuse_offline(PACKAGE.url)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{VERSION}.") as name:
        temporary = Path(name)
        package = _packed_by_npm(temporary) or download(PACKAGE, temporary)
        if _integrity(package, "sha512") != INTEGRITY:
            raise UserError(f"{package.name}: not the expected package (its SHA-512 differs); nothing was kept")
        unpacked = temporary / "unpacked"
        unpacked.mkdir()
        with tarfile.open(package) as archive:
            for part in (part for parts in PARTS.values() for part in parts):
                member = archive.extractfile(f"package/dist/{part.source}")
                assert member is not None
                with open(unpacked / part.name, "wb") as out:
                    shutil.copyfileobj(member, out)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unpacked, folder)


def _packed_by_npm(folder: Path) -> Path | None:
    """The package as npm fetches it, from whatever registry npm is set to; None where npm is not there or fails."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent", "--fetch-retries=1"]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, timeout=_NPM_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    packed = folder / f"onnxruntime-web-{VERSION}.tgz"
    return packed if ended.returncode == 0 and packed.is_file() else None


def _integrity(path: Path, algorithm: str) -> str:
    """The hash as Subresource Integrity writes it."""
    return f"{algorithm}-{base64.b64encode(bytes.fromhex(digest(path, algorithm))).decode()}"
