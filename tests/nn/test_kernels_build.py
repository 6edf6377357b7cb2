"""Building the kernels: the cache, what may be missing, and the reason that is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobilenets.arch.registry import create_spec
from mobilenets.nn import kernels
from mobilenets.nn.kernels import binding, build
from mobilenets.nn.network import build_network

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in build.COMPILERS), reason="no C++ compiler on this machine"
)


# The program of another process that asks for the kernels, without the optimiser, whose minute says nothing here.
ASKING = """
from mobilenets.nn.kernels import available, build
build.FLAGS = tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS)
print(*available())
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and nothing loaded; what was loaded before comes back after."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(binding.SWITCH, raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(binding, "_load", binding._load.__wrapped__)
    return tmp_path / "cache" / "kernels"


def fake_compiler(folder: Path, script: str) -> str:
    """An executable of that name on no PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def train_a_step() -> bool:
    """Whether a network still learns."""
    network = build_network(create_spec("mobilenet_v2", width=0.35, classes=2)).train()
    network(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)).sum().backward()
    return all(p.grad is not None for p in network.parameters())


def test_the_switch(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binding.SWITCH, "0")
    assert kernels.available() == (False, "MOBILENETS_KERNELS=0")
    assert train_a_step()
    assert not fresh.exists()


def test_no_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernels.available() == (False, "no C++ compiler: c++, g++, clang++ not found")
    assert train_a_step()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert kernels.available() == (False, "no C++ compiler: no-such-compiler not found")


def test_a_compiler_that_fails(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = fake_compiler(
        tmp_path, 'echo "In file included from x" >&2; echo "omp.h: fatal error: not found" >&2; exit 1'
    )
    monkeypatch.setenv("CXX", path)
    expected = f"{path} cannot compile the kernels: omp.h: fatal error: not found"
    assert kernels.available() == (False, expected)
    assert train_a_step()
    assert list(fresh.iterdir()) == []


def test_a_cache_that_cannot_be_written(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a folder must be")
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, "exit 0"))
    found, reason = kernels.available()
    assert not found
    assert reason.startswith(f"the kernels cannot be kept in {fresh}: ")
    assert "\n" not in reason
    assert train_a_step()


@pytest.mark.slow
@needs_compiler
def test_the_library_is_built_once_and_again_when_damaged(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))
    build.load_library()
    (path,) = fresh.glob("*.so")
    written = path.stat().st_mtime_ns
    build.load_library()
    assert path.stat().st_mtime_ns == written
    cut = path.with_suffix(".cut")  # another file in its place: this process has the old one mapped and runs it at exit
    cut.write_bytes(path.read_bytes()[:1000])
    os.utime(cut, ns=(1, 1))
    os.replace(cut, path)
    if shutil.which("env"):  # in a process of its own: this one has the old library mapped
        done = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, timeout=300)
        assert done.stdout == "True compiled for this machine\n", done.stderr
    assert path.stat().st_mtime_ns != 1


@pytest.mark.slow
@needs_compiler
def test_two_processes_build_at_once(fresh: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert said == "True compiled for this machine\n"
        assert process.returncode == 0
    assert sorted(path.suffix for path in fresh.iterdir()) == [".sha256", ".so"]


@needs_compiler
def test_the_threads_are_torchs(fresh: Path) -> None:
    """One OpenMP runtime in the process, or each would keep threads of its own spinning."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    program = """if True:
        from mobilenets.nn.kernels import available
        from mobilenets.nn.network import build_network
        print(available()[0], *{path for path in open("/proc/self/maps").read().split() if "libgomp" in path})
    """
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert said[0] == "True"
    assert len(said) == 2
