"""What `--to web` writes, without a browser: the onnx runtime's bytes, a closed folder, the library or a link to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.deploy.bundle import open_bundle
from mobilenets.deploy.export import export
from mobilenets.deploy.page import onnxruntime_web
from mobilenets.deploy.page.icon import icon
from mobilenets.deploy.page.write import STATIC, write_page


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, nothing is in the cache."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")


@pytest.fixture
def manifest(exported: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((exported / "bundle.json").read_text(encoding="utf-8"))
    return found


def kept(folder: Path) -> list[str]:
    """The files that the service worker keeps."""
    found = re.search(r"const FILES = (\[.*?\]);", (folder / "sw.js").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    files: list[str] = json.loads(found[1])
    return files


def test_the_network_is_the_onnx_runtimes(run: Path, exported: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "bundle", to=("web", "onnx"))
    bundle = open_bundle(tmp_path / "bundle")
    assert [model.path for model in bundle.models] == ["web/float32/model.onnx", "onnx/float32/model.onnx"]
    assert len({model.sha256 for model in bundle.models}) == 1
    listed = {name.removeprefix("web/") for name in bundle.manifest["files"] if name.startswith("web/")}
    assert listed == {path.relative_to(bundle.path / "web").as_posix() for path in (bundle.path / "web").rglob("*.*")}
    assert {path.name for path in STATIC.iterdir()} < listed


def test_without_the_library_one_line_says_that_a_cdn_is_linked(
    manifest: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_page(tmp_path, manifest)
    said = capfd.readouterr()
    assert re.fullmatch(
        r"the page links https://cdn\.jsdelivr\.net/npm/onnxruntime-web@[\d.]+/dist/ and needs the internet once: .*\n",
        said.out + said.err,
    )
    assert "MOBILENETS_OFFLINE=1 forbids" in said.out + said.err
    assert not (tmp_path / "runtime").exists()
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    importmap = re.search(r'<script type="importmap">(.*?)</script>', page)
    assert importmap is not None
    assert all(part.integrity in page for part, _ in onnxruntime_web.PARTS.values())
    assert hashlib.sha256(importmap[1].encode()).digest().hex() == _hash_in_policy(page)
    assert json.loads((tmp_path / "page.json").read_text())["runtime"]["base"] == onnxruntime_web.CDN


def _hash_in_policy(page: str) -> str:
    found = re.search(r"'sha256-([^']+)'", page)
    assert found is not None
    return base64.b64decode(found[1]).hex()


def test_every_file_that_is_kept_is_there_and_no_place_is_left_open(
    manifest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lay_library(tmp_path / "library", monkeypatch)
    write_page(tmp_path / "web", manifest)
    files = kept(tmp_path / "web")
    assert all((tmp_path / "web" / name).exists() for name in files)
    late = {"runtime/ort.webgpu.js", "runtime/ort-wasm-simd-threaded.asyncify.wasm"}
    present = {path.relative_to(tmp_path / "web").as_posix() for path in (tmp_path / "web").rglob("*.*")}
    assert present - set(files) == late | {"sw.js"}
    for path in (tmp_path / "web").iterdir():
        if path.suffix in (".html", ".js", ".json", ".css", ".webmanifest"):
            text = path.read_text(encoding="utf-8")
            assert "{{" not in text, path
            assert not re.search(r"https?://\w|[\"'(]/[a-z]", text), path


def test_the_version_changes_with_the_content(
    manifest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lay_library(tmp_path / "library", monkeypatch)
    for name in ("a", "b", "c"):
        write_page(tmp_path / name, manifest | ({"name": "another"} if name == "c" else {}))
    first, same, other = ((tmp_path / name / "sw.js").read_bytes() for name in ("a", "b", "c"))
    assert first == same
    assert first != other


def test_a_name_cannot_break_the_page(manifest: dict[str, Any], tmp_path: Path) -> None:
    write_page(tmp_path, manifest | {"name": '<script>"&'})
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<title>&lt;script&gt;&quot;&amp;</title>" in page
    assert json.loads((tmp_path / "manifest.webmanifest").read_text())["name"] == '<script>"&'


def test_another_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILENETS_OFFLINE")

    def packed(command: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[bytes]:
        with tarfile.open(cwd / f"onnxruntime-web-{onnxruntime_web.VERSION}.tgz", "w:gz"):
            pass
        return subprocess.CompletedProcess(command, 0)

    said: list[str] = []
    monkeypatch.setattr(onnxruntime_web.shutil, "which", lambda name: name)
    monkeypatch.setattr(onnxruntime_web.subprocess, "run", packed)
    monkeypatch.setattr(onnxruntime_web, "say", said.append)
    assert onnxruntime_web.fetched() is None
    assert "not the expected package (its SHA-512 differs)" in said[0]
    assert [path.name for path in (tmp_path / "cache/onnxruntime-web").iterdir()] == ["1.30.0.lock"]


def test_the_icon_is_the_svgs() -> None:
    image = cv2.imdecode(np.frombuffer(icon(192), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape == (192, 192, 3)
    assert f"#{''.join(f'{value:02x}' for value in image[0, 0])}" in (STATIC / "icon.svg").read_text()
    assert (image[96, 96] > 200).all()  # the middle bar
    assert (image[42, 54] == 255).all()  # a corner of the frame


def _lay_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of empty files where the page takes it from."""
    folder.mkdir()
    for parts in onnxruntime_web.PARTS.values():
        for part in parts:
            (folder / part.name).touch()
    monkeypatch.setattr("mobilenets.deploy.page.write.fetched", lambda: folder)
