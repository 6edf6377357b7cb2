"""The one loader: whatever names a network becomes a `Loaded`, and what it was taken for is printed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..arch.registry import create_spec
from ..arch.spec import Preprocessing, Spec
from ..console import say, warn
from ..errors import UserError
from ..extras import require
from .bundle import MANIFEST, Bundle, ModelFile, is_bundle, open_bundle
from .manifest import decision, run_provenance
from .runtimes import Session, runtime

if TYPE_CHECKING:
    from ..nn.network import Network

Kind = Literal["run", "bundle", "file", "weights", "architecture"]
ACCEPTED = (
    "a run folder, a bundle folder, a model file inside a bundle, a published file of weights, a catalogue name, "
    "or an architecture's name"
)


@dataclass
class Loaded:
    """A network ready to be run.

    `labels` has one dictionary for each logit: `name`, and `index` and `wnid` where known. `source` is where the
    weights come from, as a bundle records it. `data` is the folder of images it was trained on, where that is known.
    """

    reference: str
    kind: Kind
    recognised: str
    spec: Spec
    labels: list[dict[str, Any]]
    source: dict[str, Any]
    make_network: Callable[[], Network] = field(repr=False)
    make_session: Callable[[int | None], Session] | None = field(default=None, repr=False)  # None: torch runs it
    decision: dict[str, Any] = field(default_factory=decision)  # as bundle.json has it
    fitted: dict[str, Any] | None = None  # a Run's, from which another threshold can be chosen
    data: Path | None = None
    data_labels: str | None = None
    int8: Path | None = None  # of a quantised Run: its table

    @property
    def temperature(self) -> float | None:
        """What logits are divided by before softmax; None where it was not fitted."""
        found: float | None = self.decision["temperature"]
        return found

    @property
    def threshold(self) -> float | None:
        """The score below which the answer is "unknown"; None where it was not fitted."""
        found: float | None = self.decision["threshold"]
        return found

    @property
    def names(self) -> list[str]:
        """The name of each logit's class."""
        return [row["name"] for row in self.labels]

    @property
    def preprocessing(self) -> Preprocessing:
        """Resize, crop and normalisation."""
        return self.spec.preprocessing

    @cached_property
    def network(self) -> Network:
        """The float32 torch network in evaluation mode, whatever runs `logits`."""
        return self.make_network().eval()

    @cached_property
    def session(self) -> Session:
        """What runs `logits`: the bundle's file in its own runtime, or torch."""
        return TorchSession(self.network) if self.make_session is None else self.make_session(None)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 (N, C)."""
        return self.session.run(images)


class TorchSession:
    """A torch network run as a `Session`, normalised as in training."""

    def __init__(self, network: Network) -> None:
        import torch

        from ..nn.placement import placed
        from ..training.loop import Normaliser

        self.network = placed(network, torch.device("cpu"))
        self.normalise = Normaliser(network.spec.preprocessing, torch.device("cpu"))

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs)."""
        import torch

        channels = self.network.spec.in_channels
        if images.shape[3] != channels:
            raise UserError(f"{self.network.spec.name} takes {channels} channels, images have {images.shape[3]}")
        with torch.inference_mode():
            logits: np.ndarray = self.network(self.normalise(torch.from_numpy(np.ascontiguousarray(images)))).numpy()
        return logits


def without_branches(loaded: Loaded) -> Loaded:
    """`loaded` itself, or where its network trained with branches the network that they fold into, see `nn.reparam`."""
    if not loaded.spec.reparam:
        return loaded
    from ..nn.deployed import deployed

    network = deployed(loaded.network)
    return replace(loaded, spec=network.spec, make_network=lambda: network)


def run_torch(module: Any, images: np.ndarray) -> np.ndarray:
    """uint8 RGB (N, R, R, 3) -> float32 logits (N, outputs), of a module that takes pixels as a model file does."""
    import torch

    with torch.inference_mode():
        logits: np.ndarray = module(torch.from_numpy(np.ascontiguousarray(images))).numpy()
    return logits


def load(reference: str | os.PathLike[str], *, random: bool = False) -> Loaded:
    """The network that `reference` names: a Run, a Bundle, a model file inside one, published weights, an architecture.

    It is printed what it was taken for. An architecture comes with random weights, so it is refused unless `random`.
    Raises UserError, one line, for anything else.
    """
    name = os.fspath(reference)
    path = Path(name)
    if not name:
        raise UserError(f"no network named; a network is {ACCEPTED}")
    if path.is_dir():
        found = _folder(name, path)
    elif path.exists():
        found = _file(name, path)
    elif "." in name and os.sep not in name:
        found = _catalogued(name)
    else:
        found = _architecture(name, random=random)
    say(f"{name}: {found.recognised}")
    if found.source["kind"] == "architecture":
        warn("its weights are random: fit for measuring speed and size, its answers mean nothing")
    return found


def from_bundle(bundle: Bundle, model: ModelFile | None = None, *, reference: str | None = None) -> Loaded:
    """The network of an opened Bundle; `logits` runs `model`, where None the bundle's first file that runs here."""
    chosen = first_that_runs(bundle) if model is None else model
    spec = bundle.spec
    what = f"{chosen.runtime} {chosen.precision} of a bundle, {_describe(spec)}"
    return Loaded(
        reference=reference or str(bundle.path),
        kind="bundle" if model is None else "file",
        recognised=what,
        spec=spec,
        labels=bundle.labels,
        source=bundle.manifest["provenance"]["source"],
        make_network=lambda: bundle_network(bundle),
        make_session=lambda threads: runtime(chosen.runtime).open(bundle.path / chosen.path, threads),
        decision=bundle.manifest["decision"],
    )


def first_that_runs(bundle: Bundle) -> ModelFile:
    """The first file whose runtime runs on this machine; where there is none the first, and opening it says why."""
    return next((model for model in bundle.models if runtime(model.runtime).elsewhere() is None), bundle.models[0])


def bundle_network(bundle: Bundle) -> Network:
    """The float32 network that a bundle's files were made from. Raises UserError when they are not as exported."""
    from ..nn.network import build_network
    from ..training.checkpoint import load_network_, load_tensors

    bundle.check(bundle.weights.relative_to(bundle.path).as_posix())
    tensors, _ = load_tensors(bundle.weights)
    network = build_network(bundle.spec)
    load_network_(network, tensors, bundle.weights)
    return network.eval()


def _folder(name: str, path: Path) -> Loaded:
    from ..training.run import is_run

    if (path / MANIFEST).is_file():
        return _bundle(name, open_bundle(path))
    if is_run(path):
        return _run(name, path)
    for folder in path.absolute().parents:
        if is_bundle(folder):  # a model that is a folder
            return _bundle_file(name, path.absolute().relative_to(folder).as_posix(), folder)
    inside = [entry.name for entry in sorted(path.iterdir()) if entry.is_dir() and (is_bundle(entry) or is_run(entry))]
    hint = f"; is {str(path / inside[0])!r} meant?" if inside else ""
    from ..weights.formats import is_weights

    if not inside and is_weights(path):
        return _weights(name, path)
    raise UserError(f"{name}: a folder, but neither a run (spec.json, recipe.json) nor a bundle ({MANIFEST}){hint}")


def _bundle(name: str, bundle: Bundle) -> Loaded:
    """The whole bundle: its first file that runs here; what is passed over is said."""
    for model in bundle.models[: bundle.models.index(first_that_runs(bundle))]:
        say(f"{bundle.path / model.path}: not run here: {runtime(model.runtime).elsewhere()}")
    return from_bundle(bundle, reference=name)


def _file(name: str, path: Path) -> Loaded:
    from ..training.run import is_run

    for folder in path.absolute().parents:
        if is_bundle(folder):
            return _bundle_file(name, path.absolute().relative_to(folder).as_posix(), folder)
        if is_run(folder):
            raise UserError(f"{name}: a file of the run {folder}; give the run's folder")
    from ..weights.formats import is_weights

    if is_weights(path):
        return _weights(name, path)
    raise UserError(f"{name}: a file that lies in no bundle and holds no weights; a network is {ACCEPTED}")


def _catalogued(name: str) -> Loaded:
    """Published weights by their name in the catalogue: from the cache, or downloaded."""
    from ..weights.catalog import find_where_no_file_is

    find_where_no_file_is(name, _near(Path(name)))
    return _weights(name, Path(name))


def _weights(name: str, path: Path) -> Loaded:
    """Published weights, run by torch as our network."""
    from ..weights.convert import provenance
    from ..weights.formats import read_weights
    from ..weights.normalise import class_labels
    from ..weights.proof import network_of

    published = read_weights([path])
    found = published.found
    labels, _ = class_labels(found)
    notes = [f"{fact}: {found.facts[fact]}" for fact in ("normalisation", "crop") if fact in found.facts]
    return Loaded(
        reference=name,
        kind="weights",
        recognised="; ".join([f"published weights ({found.format}), {_describe(found.spec)}", *notes]),
        spec=found.spec,
        labels=_aligned(found.spec, labels, path),
        source=provenance(published),
        make_network=lambda: network_of(found),
    )


def _bundle_file(name: str, inside: str, folder: Path) -> Loaded:
    bundle = open_bundle(folder)
    for model in bundle.models:
        if inside == model.path or inside in model.parts:
            return from_bundle(bundle, model, reference=name)
    if inside == MANIFEST:
        return from_bundle(bundle, reference=name)
    raise UserError(f"{name}: no model file; this bundle has {', '.join(model.path for model in bundle.models)}")


def _run(name: str, path: Path) -> Loaded:
    from ..compress.files import TABLE, is_quantised
    from ..training.run import EVALUATION, open_run, read_json

    run = open_run(path)
    network = run.network()
    evaluated = path / EVALUATION
    root = run.recipe.get("data", {}).get("path")
    if evaluated.is_file() and not is_quantised(path):  # a quantised one may have been scored on other data
        root = read_json(evaluated).get("data")
    table = path / TABLE if is_quantised(path) else None
    return Loaded(
        reference=name,
        kind="run",
        recognised=f"{'a run' if table is None else 'a quantised run'}, {_describe(run.spec)}",
        spec=run.spec,
        labels=_aligned(run.spec, run.labels, path),
        source=run_provenance(run.recipe),
        make_network=lambda: network,
        make_session=None if table is None else lambda threads: _int8_session(table, network),
        int8=table,
        decision=decision(run.decision),
        fitted=run.decision,
        data=Path(root) if root else None,
        data_labels=run.recipe.get("arguments", {}).get("labels"),
    )


def _int8_session(table: Path, network: Network) -> Session:
    from ..compress.quiet import quiet

    with quiet():
        require("int8", "torchao.quantization.pt2e.quantize_pt2e")
        from .int8_session import Int8Session, int8_simulation

    return Int8Session(int8_simulation(table, network))


def _aligned(spec: Spec, labels: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """One label for each logit; the background class, where there is one, stands in front."""
    if spec.head.background and len(labels) == spec.head.classes:
        labels = [{"name": "background"}, *labels]
    if len(labels) != spec.head.outputs:
        raise UserError(f"{path}: {len(labels)} labels for a network with {spec.head.outputs} outputs")
    return labels


def _architecture(name: str, *, random: bool) -> Loaded:
    if os.sep in name or "." in name or name.startswith("~"):
        raise UserError(f"{name}: no such file or folder{_near(Path(name))}; a network is {ACCEPTED}")
    try:
        spec = create_spec(name)
    except UserError as error:
        near = _near(Path(name))
        raise UserError(f"{error}{near}" if near else f"{name}: no such file or folder, and {error}") from None
    if not random:
        from ..weights.catalog import of_architecture

        known = of_architecture(name)
        hint = f", or name published weights: {', '.join(known[:3])}" if known else ""
        raise UserError(
            f"{name}: an architecture has random weights, so it has no answers to give; train it first{hint}"
        )
    return Loaded(
        reference=name,
        kind="architecture",
        recognised=f"an architecture, {_describe(spec)}",
        spec=spec,
        labels=[{"name": f"class {index}", "index": index} for index in range(spec.head.outputs)],
        source={"kind": "architecture", "name": name, "seed": 0},
        make_network=lambda: _random_network(spec),
    )


def _random_network(spec: Spec) -> Network:
    """Always the same random weights, and the caller's random numbers undisturbed."""
    import torch

    from ..nn.network import build_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(spec)


def _near(path: Path) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; is {str(path.parent / near[0])!r} meant?" if near else ""


def _describe(spec: Spec) -> str:
    classes = f"{spec.head.classes} classes" if spec.head.classes else "no classifier"
    return f"{spec.name} at {spec.resolution} px, {classes}"
