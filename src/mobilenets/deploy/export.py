"""`export`: from a network to a Bundle, all or nothing, and nothing in it that was not run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..compress.files import is_quantised
from ..console import progress, say
from ..digest import digest
from ..errors import UserError
from .bundle import CARD, FORMAT, KIND, MANIFEST, MEASURED, WEIGHTS
from .calibrate import IMAGES, calibration_images
from .card import model_card
from .gates import GOLDEN
from .golden import COUNT, Golden, golden_images, write_golden
from .load import Loaded, TorchSession, load, run_torch, without_branches
from .manifest import decision, input_contract, output_contract, preprocessing_contract, properties
from .place import check_target, new_folder
from .plan import check_installed, plan_files
from .runtimes import AUTO, INT8, WEIGHTS8, Runtime, one_line, runtime, versions
from .runtimes.weight_only import rounded

if TYPE_CHECKING:
    from torch import nn

    from ..compress.quantised import Quantised
    from .wrap import Shipped


def export(
    reference: str | os.PathLike[str],
    out: str | os.PathLike[str],
    to: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = (),
    *,
    int8: bool = False,
    data: str | os.PathLike[str] | None = None,
    labels: str | None = None,
    calibration_images: int = IMAGES,
    keep: float | None = None,
) -> dict[str, Any]:
    """Writes a Bundle: a file for each runtime in `to` and each of `precisions`. Returns what `export --json` prints.

    `auto` among the runtimes stands for the fastest on this machine: see `auto.export_fastest`.
    Without `precisions` each runtime's first, which is float32 where it has that; a precision that a runtime does not
    have is left out there with one line, and an error where none has it. `int8` adds int8 to either. That is calibrated
    with training images of `data`, else of the Run's own data. A library that is missing is told before any work. The
    golden images are run through every file before the bundle gets its name; a Bundle that was there is replaced as a
    whole, any other folder is refused. `keep` is the share (0...1) of right answers that the threshold for "unknown"
    has to leave, 0.95 where nothing is said. The same Run gives the same bytes (MODEL_CARD.md and measured.json apart).
    """
    target = Path(out)
    names, wanted = tuple(dict.fromkeys(to)), tuple(dict.fromkeys(precisions))
    quantised = is_quantised(Path(reference))
    if quantised and data is not None:
        raise UserError(f"{reference}: is quantised already, --data {data} would calibrate it anew: leave it out")
    if quantised and "coreml" in names:
        say("coreml: its int8 is weights alone, from the float network, not from the table of the run")
    beside = (INT8,) if int8 or (quantised and not wanted) else ()
    plan = plan_files([runtime(name) for name in names if name != AUTO], wanted, beside) if names != (AUTO,) else []
    check_target(target)
    check_installed(plan)
    loaded = load(reference, random=True)
    if keep is not None:
        if loaded.fitted is None:
            raise UserError(
                f"keep {keep:g} goes with a run of `train`, which keeps its selection; {reference} has none"
            )
        loaded.decision = decision(loaded.fitted, keep)
    source = Source(loaded, None if data is None else Path(data), labels, calibration_images)
    if AUTO in names:
        from .auto import export_fastest

        return export_fastest(source, target, (*wanted, *beside), plan)
    files = write_bundle(target, source, plan)
    say_files(target, files)
    return {"bundle": str(target), "files": files}


def say_files(target: Path, files: Sequence[dict[str, Any]]) -> None:
    """One line for each file: where it lies, its size, how near it comes to the network."""
    for row in files:
        largest = row["max_abs_error"]
        found = "not run here" if largest is None else f"largest error {largest:.2g} on {COUNT} golden images"
        say(f"{target / row['path']}: {row['size_mb']:.2f} MB, {found}")
        if row.get("precision") == INT8 and (why := runtime(row["runtime"]).slow_int8):
            say(f"{target / row['path']}: may be slower than float32: {why}; `mobilenets bench` compares them")


def write_bundle(
    target: Path, source: Source, plan: Sequence[tuple[Runtime, str]], failed: dict[tuple[str, str], str] | None = None
) -> list[dict[str, Any]]:
    """Writes the files of `plan` as the Bundle `target`; returns their rows of the answer.

    With `failed` a file that cannot be made, or is not what the network computes, is left out, and why put there by
    (runtime, precision), as long as one is left.
    """
    loaded = source.loaded
    with new_folder(target) as folder:
        golden = golden_images(loaded.preprocessing, loaded.data, loaded.data_labels)
        manifest, files = _fill(folder, source, plan, golden, failed)
        _write_manifest(folder, manifest, files)
    return files


@dataclass
class Source:
    """What the files are made from: the float network as it ships, and its int8 form, made once where one asks.

    A network that trained with branches is in the Bundle as the one that they fold into.
    """

    loaded: Loaded
    data: Path | None
    labels: str | None
    calibration_images: int

    def __post_init__(self) -> None:
        self.loaded = without_branches(self.loaded)

    @cached_property
    def shipped(self) -> Shipped:
        """The float network as it ships."""
        from .wrap import Shipped

        return Shipped(self.loaded.network)

    @cached_property
    def quantised(self) -> Quantised:
        """The quantised network."""
        from ..compress.static import quantise

        if self.loaded.int8 is not None:
            from .int8_session import int8_simulation

            return int8_simulation(self.loaded.int8, self.loaded.network).converted()
        images = calibration_images(self.loaded, self.data, self.labels, self.calibration_images)
        return quantise(self.shipped, images)

    @cached_property
    def rounded(self) -> nn.Module:
        """The float network as it ships with the weights that a weights8 file holds."""
        return rounded(self.shipped)

    def module(self, runtime: Runtime, precision: str) -> Any:
        """What that file is made from."""
        return self.quantised if precision in runtime.calibrated else self.shipped


def _fill(
    folder: Path,
    source: Source,
    plan: Sequence[tuple[Runtime, str]],
    golden: Golden,
    failed: dict[tuple[str, str], str] | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Writes everything but the manifest; returns the manifest without its list of files, and the answer's files."""
    import torch

    from ..training.checkpoint import save_tensors

    loaded = source.loaded
    network, spec = loaded.network, loaded.spec
    (folder / WEIGHTS).parent.mkdir()
    save_tensors(folder / WEIGHTS, network.state_dict(), {"network": spec.name})
    expected = TorchSession(network).run(golden.images)
    models, files = [], []
    examples: dict[str, str] = {}
    outputs: dict[str, np.ndarray] = {}
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
        "decision": loaded.decision,
    }
    with progress() as bar:
        task = bar.add_task("export", total=len(plan), note="")
        for each, precision in plan:
            bar.update(task, note=f"{each.name} {precision}")
            try:
                row, logits = _write_model(folder, each, precision, source, golden.images, expected)
            except Exception as error:
                if failed is None or isinstance(error, MemoryError):
                    raise
                failed[each.name, precision] = one_line(error)
                shutil.rmtree(folder / each.name / precision)
                continue
            models.append(row)
            files.append(_answer(row, None if logits is None else float(np.abs(logits - expected).max())))
            if logits is not None:
                outputs[row["path"]] = logits
            for name, text in each.examples(manifest, row["path"]).items():
                examples.setdefault(name, text)  # of a runtime's files the first
            bar.update(task, advance=1)
    if not models and failed:
        raise UserError(f"no file could be made: {'; '.join(f'{name}: {why}' for (name, _), why in failed.items())}")
    for name, text in examples.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    runtimes = {each.name: each for each, _ in plan}.values()
    manifest["models"] = models
    for each in runtimes:
        if each.complete is not None:
            each.complete(folder / each.name, manifest)
    manifest |= {
        "reference": {"path": WEIGHTS, "format": "safetensors", "precision": "float32"},
        "golden": write_golden(golden, expected, outputs, loaded.labels, folder),
        "examples": list(examples),
        "provenance": {
            "source": loaded.source,
            "versions": {"mobilenets": __version__, "torch": torch.__version__}
            | versions(tuple(sorted({name for each in runtimes for name in each.packages}))),
        },
    }
    return manifest, files


def _write_model(
    folder: Path, each: Runtime, precision: str, source: Source, images: np.ndarray, expected: np.ndarray
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Writes one model file, runs the golden images through it; returns its row of the manifest and its logits.

    Raises RuntimeError when the file does not compute what the network computes: that would be a fault of ours.
    """
    place = folder / each.name / precision
    place.mkdir(parents=True)
    module, loaded = source.module(each, precision), source.loaded
    main, facts = each.write(module, place, precision, properties(loaded.spec, loaded.labels))
    found: np.ndarray | None = None
    if each.elsewhere() is None:
        found = each.open(main, 1).run(images)
        slack = 0.0
        if precision == WEIGHTS8:
            expected = run_torch(source.rounded, images)
        if precision in each.calibrated:
            quantised = run_torch(module, images)
            slack = float(np.abs(quantised - expected).max())  # a network that blows rounding up does so in every file
            expected = quantised
        _hold(f"the {each.name} {precision} file", found, expected, GOLDEN[precision], slack)
    parts = sorted(path for path in place.rglob("*") if path.is_file())
    row = {
        "runtime": each.name,
        "precision": precision,
        "path": main.relative_to(folder).as_posix(),
        "parts": [path.relative_to(folder).as_posix() for path in parts],
        "size_bytes": sum(path.stat().st_size for path in parts),
        "sha256": digest(main) if main.is_file() else _digest_of(parts, folder),
        "facts": facts,
    }
    return row, found


def _digest_of(parts: Sequence[Path], folder: Path) -> str:
    """One hash for a model that is a folder: of its files' names and hashes."""
    lines = [f"{path.relative_to(folder).as_posix()} {digest(path)}\n" for path in parts]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hold(what: str, found: np.ndarray, expected: np.ndarray, tolerance: float, slack: float) -> None:
    error, largest = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    if found.shape != expected.shape or not error <= max(tolerance * largest, slack) + 1e-12:
        raise RuntimeError(
            f"{what} gives {found.shape} logits that differ by {error:.3g} from the network's {expected.shape}, "
            f"whose largest is {largest:.3g}"
        )


def _answer(row: dict[str, Any], error: float | None) -> dict[str, Any]:
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
