"""`weights convert`: a published file becomes a Run, with the proof, and a Run goes back out to other libraries."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..arch.cost import cost
from ..atomic import write_json
from ..console import say, warn
from ..digest import digest
from ..errors import UserError
from ..nn.deployed import deployed
from ..training.checkpoint import save_tensors
from ..training.replace import check_replaceable
from ..training.run import BEST, LABELS, RECIPE, SPEC, is_run, open_run, read_json
from .formats import Published, read_weights
from .normalise import class_labels
from .proof import network_of, prove

LIBRARIES = {
    "timm": (".safetensors", ".pth"),
    "torchvision": (".pth", ".safetensors"),
    "keras": (".keras", ".weights.h5", ".h5"),
}


def convert(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    backbone: bool = False,
    normalise: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Turns a published file (or the two parts of one) into a Run. Returns what `weights convert --json` prints.

    `architecture` is the library's own name of the network, for files that hold tensors alone; `backbone` takes the
    blocks alone out of a detector or a segmentation network; `normalise` (half, unit, imagenet, raw) says what the file
    leaves open; `classes` is a text file with one class name on each line. What was recognised is printed; where the
    source's own runtime is installed, both run the same pictures (rendered ones, or those of `data`), and `ok` says
    whether they agree: if not, no Run is left. Raises UserError, one line, for what cannot be read.
    """
    sources = [sources] if isinstance(sources, str | os.PathLike) else sources
    folder = Path(out)
    given = _class_names(classes)
    check_replaceable(folder, sources, {SPEC, LABELS, RECIPE, BEST}, _is_imported, "imported")
    published = read_weights(sources, architecture=architecture, backbone=backbone, normalise=normalise)
    found = published.found
    _refuse_other(folder, published)
    labels, named_by = class_labels(found, given)
    found.facts["labels"] = named_by if labels else "none"
    _tell(published)
    network = network_of(found)
    proof = prove(published, network, data)
    _tell_proof(published, proof)
    ok = proof is None or bool(proof["ok"])
    sha256 = ""
    if ok:
        sha256 = _write(folder, published, labels, proof, dict(network.state_dict()))
    whole = cost(found.spec)
    return {
        "path": str(folder) if ok else None,
        "sha256": sha256 or None,
        "ok": ok,
        "recognised": found.facts | {"format": found.format, "network": found.spec.name},
        "classes": found.spec.head.classes,
        "background": found.spec.head.background,
        "resolution": found.spec.resolution,
        "params": whole.params,
        "macs": whole.macs,
        "tensors": {"used": len(found.used), "set_aside": found.set_aside},
        "max_abs_error": None if proof is None else proof["max_abs_error"],
        "proof": proof,
        "sources": [_stated(path) for path in published.paths],
    }


def convert_out(run: str | os.PathLike[str], library: str, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes a Run's weights as a file of timm, torchvision or Keras. Returns what `weights convert --json` prints.

    Raises UserError, one line, where that library has no such network or the file's suffix is none of its own.
    """
    if library not in LIBRARIES:
        raise UserError(f"unknown library {library!r}; allowed: {', '.join(LIBRARIES)}")
    path = Path(out)
    if not path.name.endswith(LIBRARIES[library]):
        raise UserError(f"{path}: a file for {library} ends in {' or '.join(LIBRARIES[library])}")
    if Path(run).exists() and not is_run(run):
        raise UserError(f"{run}: is no run; `weights convert {run} --out RUN` makes one of a published file")
    opened = open_run(run)
    network, spec = opened.network(), opened.spec
    names = [row["name"] for row in opened.labels]
    say(f"{run}: a run, {spec.name} at {spec.resolution} px, {spec.head.classes} classes")
    if spec.reparam:
        say(f"  its branches (reparam {spec.reparam}) and BatchNorm are folded into single convolutions")
        network = deployed(network)
        spec = network.spec
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    if library == "timm":
        from .timm import to_timm

        written = to_timm(spec, state, path, names)
    elif library == "torchvision":
        from .torchvision import to_torchvision

        written = to_torchvision(spec, state, path, names)
    else:
        from .keras.out import to_keras

        written = to_keras(spec, state, path)
    for fact, value in written.get("facts", {}).items():
        say(f"  {fact:14} {value}")
    return {
        "path": str(path),
        "sha256": written["sha256"],
        "ok": True,
        "recognised": written.get("facts", {}) | {"format": library, "network": spec.name},
        "max_abs_error": written.get("max_abs_error"),
    }


def _class_names(path: str | os.PathLike[str] | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no text file with one class name on each line ({error})") from None
    return tuple(line.strip() for line in lines if line.strip())


def _is_imported(run: Path) -> bool:
    recipe = read_json(run / RECIPE)
    return isinstance(recipe, dict) and "imported" in recipe


def _refuse_other(folder: Path, published: Published) -> None:
    """Raises UserError where the Run at `folder` was made from other files."""
    if is_run(folder):
        before = [row["sha256"] for row in read_json(folder / RECIPE)["imported"]["sources"]]
        if before != [_stated(path)["sha256"] for path in published.paths]:
            raise UserError(f"{folder}: is a run imported from another file; choose another --out")


def _tell(published: Published) -> None:
    found = published.found
    names = ", ".join(str(path) for path in published.paths)
    say(f"{names}: {found.format}, {found.spec.name} at {found.spec.resolution} px")
    for fact, value in found.facts.items():
        say(f"  {fact:14} {value}")
    say(f"  {'tensors':14} {len(found.used)} used, none left over" + _aside(found.set_aside))
    said = found.facts.get("normalisation", "")
    if "not in the file" in said:
        warn(f"the file does not say how pixels are normalised; taken as {said} (--normalise sets another)")


def _aside(set_aside: dict[str, str]) -> str:
    reasons: dict[str, int] = {}
    for reason in set_aside.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    return "".join(f"; {count} set aside ({reason})" for reason, count in reasons.items())


def _tell_proof(published: Published, proof: dict[str, Any] | None) -> None:
    if proof is None:
        warn(f"nothing was compared with the source: {published.unproved}")
        return
    shown = (
        f"same answer on {proof['agreement']:.1%} of {proof['images']} images"
        if proof["real"]
        else (f"{proof['images']} rendered pictures; --data compares the answers on images")
    )
    say(
        f"  {'proof':14} against {proof['runtime']}: largest difference {proof['max_abs_error']:.3g}, 99.9 % of logits "
        f"within {proof['p999']:.2g}, largest logit {proof['largest']:.3g}; {shown}"
    )
    if not proof["ok"]:
        warn("the network does not do what the file does; no run was written. Please report the file")


def _write(
    folder: Path,
    published: Published,
    labels: list[dict[str, Any]],
    proof: dict[str, Any] | None,
    tensors: dict[str, torch.Tensor],
) -> str:
    """Writes the Run beside its place, then moves it there whole. Returns the SHA-256 of its weights."""
    found = published.found
    folder = folder.resolve()  # `.`, `..` and links have a parent that is another folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    aside = made.with_name(f"{made.name}.old")
    try:
        write_json(made / SPEC, found.spec.to_json())
        write_json(made / LABELS, labels)
        recipe = {
            "task": "classify",
            "imported": _imported(published) | {"proof": proof},
            "versions": _versions(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(made / RECIPE, recipe)
        save_tensors(made / BEST, tensors, {"imported": found.format})
        umask = os.umask(0)
        os.umask(umask)
        made.chmod(0o777 & ~umask)
        if folder.exists():
            os.replace(folder, aside)
        os.replace(made, folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            os.replace(aside, folder)
        shutil.rmtree(made, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    return digest(folder / BEST)


def provenance(published: Published) -> dict[str, Any]:
    """Where the weights of a published file come from, as a bundle records it."""
    return {"kind": "weights", "versions": _versions()} | _imported(published)


def _imported(published: Published) -> dict[str, Any]:
    found = published.found
    return {
        "format": found.format,
        "sources": [_stated(path) for path in published.paths],
        "recognised": found.facts,
        "quantisation": found.quantisation,
        "set_aside": len(found.set_aside),
    }


def _versions() -> dict[str, str]:
    return {"mobilenets": __version__, "torch": torch.__version__, "numpy": metadata.version("numpy")}


def _stated(path: Path) -> dict[str, Any]:
    """Name, size and hash of a source; of a folder those of all its files together."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    hashes = [digest(each) for each in files]
    whole = hashlib.sha256(bytes.fromhex("".join(hashes))).hexdigest() if path.is_dir() else hashes[0]
    return {"name": path.name, "bytes": sum(each.stat().st_size for each in files), "sha256": whole}
