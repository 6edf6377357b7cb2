"""The Bundle: the folder that ships, what its manifest says, and whether its files are still the ones it says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ..arch.spec import Preprocessing, Spec
from ..atomic import write_json, write_text
from ..console import warn
from ..digest import digest
from ..errors import UserError
from .card import model_card

FORMAT = 1
KIND = "mobilenets bundle"
MANIFEST, MEASURED, CARD = "bundle.json", "measured.json", "MODEL_CARD.md"
WEIGHTS = "network/weights.safetensors"


@dataclass(frozen=True)
class ModelFile:
    """One network in one runtime's form. `path` is what the runtime opens; `parts` are all files that belong to it."""

    runtime: str
    precision: str
    path: str
    parts: tuple[str, ...]
    size_bytes: int
    sha256: str

    @property
    def size_mb(self) -> float:
        """Bytes / 10^6."""
        return self.size_bytes / 1e6


@dataclass(frozen=True)
class Bundle:
    """A Bundle folder opened for reading; `manifest` is its bundle.json."""

    path: Path
    manifest: dict[str, Any]

    @cached_property
    def spec(self) -> Spec:
        """The network as data."""
        return Spec.from_json(self.manifest["spec"])

    @property
    def preprocessing(self) -> Preprocessing:
        """Resize, crop and normalisation."""
        return self.spec.preprocessing

    @property
    def labels(self) -> list[dict[str, Any]]:
        """One dictionary for each logit, in order: `name`, and `index` and `wnid` where known."""
        labels: list[dict[str, Any]] = self.manifest["labels"]
        return labels

    @cached_property
    def models(self) -> tuple[ModelFile, ...]:
        """The model files, in the order they were asked for."""
        fields = ("runtime", "precision", "path", "size_bytes", "sha256")
        return tuple(
            ModelFile(**{name: row[name] for name in fields}, parts=tuple(row["parts"]))
            for row in self.manifest["models"]
        )

    @property
    def weights(self) -> Path:
        """The float32 weights that every file was made from."""
        return self.path / WEIGHTS

    def problem(self, name: str) -> str | None:
        """What is wrong with a file that the manifest lists, as one sentence that names it; None when nothing is."""
        stated = self.manifest["files"][name]
        path = self.path / name
        if not path.is_file():
            return f"{path} is missing"
        size = path.stat().st_size
        if size != stated["bytes"]:
            return f"{path} has {size} bytes where {MANIFEST} states {stated['bytes']}: truncated or replaced"
        if digest(path) != stated["sha256"]:
            return f"{path} is not the file that was exported: its sha256 differs from {MANIFEST}"
        return None

    def check(self, *names: str) -> None:
        """Raises UserError for the first of the named files (all, where none is named) that is not as exported."""
        for name in names or self.manifest["files"]:
            problem = self.problem(name)
            if problem:
                raise UserError(f"{problem}; export it again")

    def measured(self) -> dict[str, Any]:
        """What `measured.json` holds; empty before the first measurement."""
        path = self.path / MEASURED
        if not path.is_file():
            return {}
        found = _read_json(path)
        if not isinstance(found, dict):
            raise UserError(f"{path}: not a JSON object; remove it and measure again")
        return found

    def store(self, key: str, value: Any) -> None:
        """Puts a measurement into `measured.json` and the model card; where that is not allowed, a warning is all."""
        try:
            measured = self.measured() | {key: value}
            write_json(self.path / MEASURED, measured)
            write_text(self.path / CARD, model_card(self.manifest, measured))
        except OSError as error:
            warn(f"{self.path}: the measurement was not stored ({error.strerror})")


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether the folder has a bundle's manifest."""
    try:
        manifest = json.loads((Path(path) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def open_bundle(path: str | os.PathLike[str], *, check: bool = True) -> Bundle:
    """The Bundle in that folder. Raises UserError, one line, when its manifest is missing, broken or too new.

    With `check` every file is compared with its recorded size and sha256; the first that differs is named.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{path}: no such bundle folder")
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{path}: no bundle; it has no {MANIFEST}")
    manifest = _read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise UserError(f"{folder / MANIFEST}: not the manifest of a bundle")
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{folder / MANIFEST}: bundle format {manifest.get('format')!r}; this version reads format {FORMAT}"
        )
    _check_shape(folder / MANIFEST, manifest)
    bundle = Bundle(folder, manifest)
    if check:
        bundle.check()
    return bundle


def manifest_models(manifest: dict[str, Any]) -> list[str]:
    """The paths of the model files, relative to the bundle."""
    return [row["path"] for row in manifest["models"]]


def _check_shape(path: Path, manifest: dict[str, Any]) -> None:
    """Raises UserError when a key that the code relies on is absent, or a path leads out of the bundle."""
    try:
        spec = Spec.from_json(manifest["spec"])
        outputs = len(manifest["labels"])
        names = [row["name"] for row in manifest["labels"]]
        listed = {name: (row["bytes"], row["sha256"]) for name, row in manifest["files"].items()}
        needed = [WEIGHTS, *(part for row in manifest["models"] for part in row["parts"])]
        facts = [(row["runtime"], row["precision"], row["size_bytes"], row["sha256"]) for row in manifest["models"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a whole manifest ({type(error).__name__}: {error})") from None
    if outputs != spec.head.outputs or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: {outputs} labels for a network with {spec.head.outputs} outputs")
    if not facts:
        raise UserError(f"{path}: lists no model file")
    for name in listed:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise UserError(f"{path}: {name!r} lies outside the bundle")
    absent = [name for name in needed if name not in listed]
    if absent:
        raise UserError(f"{path}: states no sha256 for {absent[0]}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
