"""`export`: from a network to a Bundle, all or nothing, and nothing in it that was not run."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..console import say
from ..digest import digest
from ..errors import UserError
from .bundle import CARD, FORMAT, KIND, MANIFEST, MEASURED, WEIGHTS, is_bundle
from .card import model_card
from .golden import Golden, golden_images, write_golden
from .load import Loaded, TorchSession, load
from .manifest import decision, input_contract, output_contract, preprocessing_contract, properties
from .runtimes import Runtime, runtime, versions

GOLDEN_TOLERANCE = 1e-3  # of the largest logit; what is beyond it is a wrong file, not rounding


def export(
    reference: str | os.PathLike[str], out: str | os.PathLike[str], to: Sequence[str] = ("onnx",)
) -> dict[str, Any]:
    """Writes a Bundle with one float32 file for each runtime in `to`. Returns what `export --json` prints.

    The golden images are run through every file before the bundle gets its name; a Bundle that was there is replaced
    as a whole, any other folder is refused. The same Run gives the same bytes (MODEL_CARD.md and measured.json apart).
    """
    chosen = [runtime(name) for name in dict.fromkeys(to)]
    if not chosen:
        raise UserError("no runtime to export to; allowed: onnx")
    target = Path(out)
    _check_target(target)
    loaded = load(reference, random=True)
    with _new_folder(target) as folder:
        golden = golden_images(loaded.preprocessing, loaded.data, loaded.data_labels)
        manifest, files = _fill(folder, loaded, chosen, golden)
        _write_manifest(folder, manifest, files)
    for row in files:
        say(
            f"{target / row['path']}: {row['size_mb']:.2f} MB, largest error {row['max_abs_error']:.2g} "
            f"on {len(golden.images)} golden images"
        )
    return {"bundle": str(target), "files": files}


def _fill(
    folder: Path, loaded: Loaded, runtimes: Sequence[Runtime], golden: Golden
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Writes everything but the manifest; returns the manifest without its list of files, and the answer's files."""
    import torch

    from ..training.checkpoint import save_tensors
    from .wrap import Shipped

    network, spec = loaded.network, loaded.spec
    (folder / WEIGHTS).parent.mkdir()
    save_tensors(folder / WEIGHTS, network.state_dict(), {"network": spec.name})
    shipped = Shipped(network)
    expected = TorchSession(network).run(golden.images)
    models, files, examples = [], [], []
    manifest: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "name": spec.name,
        "task": "classify",
        "spec": spec.to_json(),
        "labels": loaded.labels,
        "preprocessing": preprocessing_contract(spec.preprocessing),
        "input": input_contract(spec),
        "output": output_contract(spec),
        "decision": decision() | {"temperature": loaded.temperature},
    }
    for each in runtimes:
        precision = each.precisions[0]
        row, error = _write_model(folder, each, precision, shipped, golden.images, expected, loaded)
        models.append(row)
        files.append(_answer(row, error))
        if f"example_{each.name}.py" not in examples:
            examples.append(f"example_{each.name}.py")
            (folder / examples[-1]).write_text(each.example(manifest, row["path"]), encoding="utf-8")
    manifest |= {
        "models": models,
        "reference": {"path": WEIGHTS, "format": "safetensors", "precision": "float32"},
        "golden": write_golden(golden, expected, loaded.labels, folder),
        "examples": examples,
        "provenance": {
            "source": loaded.source,
            "versions": {"mobilenets": __version__, "torch": torch.__version__}
            | versions(tuple(sorted({name for each in runtimes for name in each.packages}))),
        },
    }
    return manifest, files


def _write_model(
    folder: Path,
    each: Runtime,
    precision: str,
    shipped: Any,
    images: np.ndarray,
    expected: np.ndarray,
    loaded: Loaded,
) -> tuple[dict[str, Any], float]:
    """Writes one model file, runs the golden images through it; returns its row of the manifest and its error.

    Raises RuntimeError when the file does not compute what the network computes: that would be a fault of ours.
    """
    place = folder / each.name / precision
    place.mkdir(parents=True)
    main, facts = each.write(shipped, place, precision, properties(loaded.spec, loaded.labels))
    found = each.open(main, 1).run(images)
    error = float(np.abs(found - expected).max())
    largest = float(np.abs(expected).max())
    if found.shape != expected.shape or not error <= GOLDEN_TOLERANCE * largest + 1e-12:
        raise RuntimeError(
            f"the {each.name} file gives {found.shape} logits that differ by {error:.3g} from the network's "
            f"{expected.shape}, whose largest is {largest:.3g}"
        )
    parts = sorted(path for path in place.rglob("*") if path.is_file())
    row = {
        "runtime": each.name,
        "precision": precision,
        "path": main.relative_to(folder).as_posix(),
        "parts": [path.relative_to(folder).as_posix() for path in parts],
        "size_bytes": sum(path.stat().st_size for path in parts),
        "sha256": digest(main),
        "facts": facts,
    }
    return row, error


def _answer(row: dict[str, Any], error: float) -> dict[str, Any]:
    return {
        "runtime": row["runtime"],
        "precision": row["precision"],
        "path": row["path"],
        "size_mb": row["size_bytes"] / 1e6,
        "sha256": row["sha256"],
        "max_abs_error": error,
    }


def _write_manifest(folder: Path, manifest: dict[str, Any], files: list[dict[str, Any]]) -> None:
    """Completes the folder: bundle.json with the hash of all that is there, then what may change later."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)} for path in paths
    }
    measured = {"golden": [{"path": row["path"], "max_abs_error": row["max_abs_error"]} for row in files]}
    for name, value in ((MANIFEST, manifest), (MEASURED, measured)):
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(manifest, measured), encoding="utf-8")


def _check_target(target: Path) -> None:
    if target.is_file():
        raise UserError(f"{target}: is a file; a bundle is a folder")
    if target.is_dir() and any(target.iterdir()) and not is_bundle(target):
        raise UserError(f"{target}: is not empty and no bundle; choose another folder")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside `target` that takes its name, and its place, when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target = target.resolve()
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o777 & ~umask)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = new.with_suffix(".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
