"""The page's folder: the files that are the same for every network, and those that say which network it is."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...digest import digest
from .icon import icon
from .onnxruntime_web import CDN, PARTS, VERSION, fetched

STATIC = Path(__file__).parent / "static"
RUNTIME = "runtime/"
_FILLED = ("index.html", "sw.js")  # these have places for what differs
_LATE = tuple(RUNTIME + part.name for part in PARTS["webgpu"])  # kept by the service worker only once they are used


def write_page(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Completes `folder`, which holds the model files already, to a page that any HTTP server serves.

    Everything in it is addressed relatively, so that it works below any path. onnxruntime-web lies in it where it can
    be had, else the page links a CDN.
    """
    ours = fetched()
    if ours is not None:
        shutil.copytree(ours, folder / RUNTIME)
    for path in STATIC.iterdir():
        if path.name not in _FILLED:
            shutil.copyfile(path, folder / path.name)
    for side in (192, 512):
        (folder / f"icon-{side}.png").write_bytes(icon(side))
    _write_json(folder / "page.json", _page(folder.name, manifest, remote=ours is None))
    _write_json(folder / "manifest.webmanifest", _web_manifest(manifest["name"]))
    importmap = _importmap() if ours is None else ""
    _fill(
        folder / "index.html",
        name=html.escape(manifest["name"]),
        policy=_policy(importmap),
        importmap=f'<script type="importmap">{importmap}</script>\n' if importmap else "",
    )
    _write_service_worker(folder, remote=ours is None)


def _page(root: str, manifest: Mapping[str, Any], *, remote: bool) -> dict[str, Any]:
    """What the page has to know; `root` is its folder's name in the bundle."""
    models = [
        {
            "precision": row["precision"],
            "path": row["path"].removeprefix(f"{root}/"),
            "size_bytes": row["size_bytes"],
        }
        for row in manifest["models"]
        if row["path"].startswith(f"{root}/")
    ]
    runtime: dict[str, Any] = {"version": VERSION, "base": CDN if remote else RUNTIME, "remote": remote}
    for device, (module, binary) in PARTS.items():
        runtime[device] = {
            "module": module.source if remote else module.name,
            "binary": binary.source if remote else binary.name,
            "integrity": binary.integrity,
        }
    return {
        "name": manifest["name"],
        "labels": [row["name"] for row in manifest["labels"]],
        "preprocessing": manifest["preprocessing"],
        "decision": manifest["decision"],
        "models": models,
        "runtime": runtime,
    }


def _web_manifest(name: str) -> dict[str, Any]:
    """What a browser needs to install the page as an app."""
    return {
        "id": "./",
        "name": name,
        "short_name": name.removeprefix("mobilenet_")[:12],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#101413",
        "theme_color": "#0b6e63",
        "icons": [
            {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"},
            {"src": "icon-192.png", "sizes": "192x192", "type": "image/png"},
            {"src": "icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
        ],
    }


def _importmap() -> str:
    """Holds the CDN's modules to their hashes."""
    return json.dumps({"integrity": {CDN + module.source: module.integrity for module, _ in PARTS.values()}})


def _policy(importmap: str) -> str:
    """The Content-Security-Policy: this folder and WebAssembly, and the CDN where there is an import map for it."""
    cdn, own = "", ""
    if importmap:
        cdn, own = f" {CDN}", f" 'sha256-{base64.b64encode(hashlib.sha256(importmap.encode()).digest()).decode()}'"
    rules = {
        "default-src": "'none'",
        "script-src": f"'self' 'wasm-unsafe-eval'{cdn}{own}",
        "worker-src": "'self' blob:",
        "connect-src": f"'self'{cdn}",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "media-src": "'self' blob:",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _write_service_worker(folder: Path, *, remote: bool) -> None:
    """Writes sw.js: what it keeps, and a version that changes with any of it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    hashes = "".join(f"{name} {digest(path)}\n" for name, path in zip(names, paths))
    kept = ["./", *(name for name in names if name not in _LATE)]
    if remote:
        kept += [CDN + part.source for part in PARTS["wasm"]]
    version = hashlib.sha256(hashes.encode()).hexdigest()[:16]
    _fill(folder / "sw.js", version=version, files=json.dumps(kept, indent=2))


def _fill(path: Path, **values: str) -> None:
    """Writes the static file of that name with each {{name}} replaced."""
    text = (STATIC / path.name).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
