"""The kernels as a shared library: compiled at first use by the machine's own C++ compiler, then kept in the cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from ...atomic import replacing, write_text
from ...cachefolder import cache_folder
from ...console import say
from ...digest import digest

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi")
COMPILERS = ("c++", "g++", "clang++")
_SECONDS = 300  # a compiler that takes longer hangs


class BuildError(Exception):
    """There is no library; the message is one line that says why."""


def load_library() -> ctypes.CDLL:
    """The library of this source, compiler and processor, from the cache or compiled now (some ten seconds).

    Two processes may build at once: each writes a file of its own and puts it in place whole. Raises BuildError where
    there is no compiler, where it fails, or where the cache cannot be written.
    """
    compiler = find_compiler()
    path = cache_folder() / "kernels" / f"{_key(compiler)}.so"
    if _is_whole(path):
        with suppress(OSError):  # what does not load is made anew
            return ctypes.CDLL(str(path))
    say("compiling kernels for this CPU, once (some ten seconds)")
    try:
        with replacing(path) as temporary:
            compile_(compiler, temporary)
        write_text(path.with_suffix(".sha256"), digest(path))
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the kernels cannot be kept in {path.parent}: {error.strerror or error}") from error


def _is_whole(path: Path) -> bool:
    """Whether the library is as it was written: one that is cut short would end the process when it is loaded."""
    try:
        return path.with_suffix(".sha256").read_text() == digest(path)
    except OSError:
        return False


def find_compiler() -> str:
    """Path of the C++ compiler: the one that CXX names, else the first of `COMPILERS` on the PATH."""
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else COMPILERS:
        if found := shutil.which(name):
            return found
    raise BuildError(f"no C++ compiler: {wanted or ', '.join(COMPILERS)} not found")


def compile_(compiler: str, path: Path) -> None:
    """Writes the library to `path`. Raises BuildError with the compiler's first complaint."""
    sources = [str(source) for source in sorted(SOURCES.glob("*.cpp"))]
    command = [compiler, *FLAGS, *sources, "-o", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} does not run: {error}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise BuildError(f"{compiler} cannot compile the kernels: {next((s for s in said if 'error' in s), said[0])}")


def _key(compiler: str) -> str:
    """Hash of all that decides what the compiler makes."""
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} does not run: {error}") from error
    parts = [compiler.encode(), version, " ".join(FLAGS).encode(), _processor().encode()]
    parts += [source.read_bytes() for source in sorted(SOURCES.glob("*.cpp")) + sorted(SOURCES.glob("*.h"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kept = ("flags", "model name", "Features", "CPU part")
    return platform.machine() + platform.processor() + "".join(sorted({s for s in lines if s.startswith(kept)}))
