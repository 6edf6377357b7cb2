"""timm's state dicts, in and out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...arch.spec import Preprocessing, Spec
from ...errors import UserError
from ..names import Shape, check_fit, check_state, expected_shapes, faults, misfit, ours, shapes_of
from ..outgoing import difference, renamed, write_state
from ..recognised import Recognised
from ..state import EXTENSIONS, WEIGHT_FILES, StateFile, read_file
from ..state_network import network_facts, with_ends, with_preprocessing
from .names import timm_names
from .networks import NAMES, TimmNetwork, at_widths, name_in, published
from .preprocessing import Wanted, find_cfg, from_config, from_defaults, read_config

_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "bn_momentum", "scriptable", "exportable"}
_PAD_TYPES = {"": "symmetric", "same": "same"}


def read(path: str | os.PathLike[str], architecture: str | None = None) -> Recognised:
    """A state dict of a timm MobileNet as a network of ours.

    The network is the one that `architecture`, the folder's config.json, the checkpoint or the file's name states; else
    the one whose tensors have these names and shapes. Every tensor is used. Raises UserError, one line, where the file
    cannot be read, is another network, or lacks a tensor or has one too many.
    """
    place = Path(path)
    file = read_file(place)
    config = read_config(place)
    shapes = shapes_of(file)
    stated, how = _stated_name(place, file, architecture, config)
    network = published(_architecture(stated)) if stated else _by_shapes(file, shapes)
    spec = _adapted(network.spec, shapes)
    if stated:
        check_fit(file, expected_shapes(spec, timm_names(spec)), f"timm's {network.name} ({how})")
    spec = _with_model_args(spec, config.get("model_args"), place)
    wanted = _preprocessing(place, file, spec.preprocessing, network, stated, config)
    spec = with_preprocessing(spec, wanted.preprocessing)
    return Recognised(
        format=f"timm ({file.container})",
        spec=spec,
        state=ours(file, spec, timm_names(spec)),
        used=file.file_names(list(file.tensors)),
        set_aside=file.set_aside,
        labels=_labels(config),
        facts=_facts(spec, network, how, wanted, file, bool(config.get("model_args"))),
    )


def to_timm(
    spec: Spec, state: Mapping[str, np.ndarray], path: str | os.PathLike[str], labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes the network to `path` (.safetensors or .pth) in timm's names. Returns {path, sha256, facts}.

    The fact `create` is the Python that makes the network in timm. Raises UserError, one line, on another suffix and on
    a network that timm does not have.
    """
    names = timm_names(spec)
    check_state(spec, state)
    network = _same_network(spec, names)
    written = write_state(Path(path), renamed(spec, state, names, {}), spec, labels)
    return written | {"facts": {"architecture": f"timm's {network.name}", "create": _creation(spec, network)}}


# which network -------------------------------------------------------------------------------------------------------


def _stated_name(place: Path, file: StateFile, architecture: str | None, config: Mapping[str, Any]) -> tuple[str, str]:
    """The name that something states, and what states it; an empty name where nothing does."""
    if architecture is not None:
        return architecture, "as named"
    if config.get("architecture"):
        return str(config["architecture"]), "by config.json"
    if name_in(file.architecture):
        return file.architecture, "by the checkpoint"
    for name in (place.name, place.parent.name) if place.name in WEIGHT_FILES else (place.name,):
        if name_in(name):
            return name, "by the file's name"
    return "", "by its tensors"


def _architecture(stated: str) -> str:
    """The architecture in `hf-hub:timm/architecture.tag`, in a file's name, or the name itself."""
    name = stated.rsplit("/", 1)[-1]
    if name.lower().endswith(EXTENSIONS):
        return name_in(name)
    return name.split(".")[0]


def _by_shapes(file: StateFile, shapes: dict[str, Shape]) -> TimmNetwork:
    """The first network whose tensors are the file's: published ones before other widths. Raises UserError."""
    nearest: tuple[str, list[str]] | None = None
    for network in _candidates():
        spec = _adapted(network.spec, shapes)
        found = faults(shapes, expected_shapes(spec, timm_names(spec)))
        if not found:
            return network
        if nearest is None or len(found) < len(nearest[1]):
            nearest = network.name, found
    assert nearest is not None
    raise misfit(file, "timm", *nearest)


def _candidates() -> Iterator[TimmNetwork]:
    plain_first = sorted(NAMES, key=lambda name: name.startswith("tf_"))
    return chain(map(published, plain_first), at_widths())


def _adapted(spec: Spec, shapes: Mapping[str, Shape]) -> Spec:
    """`spec` with the file's number of classes and input channels."""
    return with_ends(spec, shapes.get("classifier.weight", ()), shapes.get("conv_stem.weight", ()))


def _with_model_args(spec: Spec, arguments: Any, place: Path) -> Spec:
    """`spec` with the settings of the folder's config.json. Raises UserError on one that is not known here."""
    if not arguments:
        return spec
    if not isinstance(arguments, dict):
        raise UserError(f"{place}: model_args of config.json is a {type(arguments).__name__}; allowed is an object")
    for key, value in arguments.items():
        if key == "pad_type" and value in _PAD_TYPES:
            spec = replace(spec, padding=_PAD_TYPES[value])  # type: ignore[arg-type]
        elif key == "bn_eps" and isinstance(value, float) and 0 < value < 1:
            spec = replace(spec, norm=replace(spec.norm, eps=value))
        elif key not in _HARMLESS and (key, value) != ("global_pool", "avg"):
            raise UserError(f"{place}: config.json sets {key} to {value!r}; known are pad_type '' or same, and bn_eps")
    return spec


# what it is told -----------------------------------------------------------------------------------------------------


def _preprocessing(
    place: Path, file: StateFile, base: Preprocessing, network: TimmNetwork, stated: str, config: dict[str, Any]
) -> Wanted:
    """What the config states, else timm's defaults for the named weights, else for the architecture, else ours."""
    wanted = from_config(config, base, "config.json")
    if wanted is not None:
        return wanted
    tagged = f"{network.name}.{config['tag']}" if isinstance(config.get("tag"), str) else ""
    for text in (tagged, file.path.name, place.name, stated.rsplit("/", 1)[-1], network.name):
        cfg = find_cfg(text)
        if cfg is not None and cfg.architecture == network.name:
            sure = text == cfg.file or cfg.tag in text
            of = f"{cfg.architecture}.{cfg.tag}"
            return from_defaults(cfg, f"timm's for {of}" + ("" if sure else "; the file does not say which weights"))
    return Wanted(preprocessing=base, source="ours; not in the file")


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    cfg = config.get("pretrained_cfg")
    names = config.get("label_names") or (cfg.get("label_names") if isinstance(cfg, dict) else None)
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _facts(
    spec: Spec, network: TimmNetwork, how: str, wanted: Wanted, file: StateFile, arguments: bool
) -> dict[str, str]:
    by_tensors = how == "by its tensors"
    said = f"timm's {network.name}"
    if arguments:
        said += " and config.json"
    elif by_tensors:
        said += "; the file does not say"
        if "tf_" in network.twin:
            said += f", {network.twin} has the same tensors with TensorFlow's SAME and epsilon 0.001"
    facts = network_facts(spec, f"timm's {network.name}, {how}", said, wanted.source)
    if by_tensors and network.twin and "tf_" not in network.twin:
        facts["strides"] = f"timm's {network.name}; {network.twin}, which pools instead, has the same tensors"
    return facts | file.facts


# out -----------------------------------------------------------------------------------------------------------------


def _same_network(spec: Spec, names: Mapping[str, str]) -> TimmNetwork:
    """timm's network that does what `spec` does but for settings that timm takes. Raises UserError."""
    shapes = expected_shapes(spec, names)
    reasons = []
    for network in sorted(_candidates(), key=lambda network: _settings(spec, network.spec)):
        reference = _adapted(network.spec, shapes)
        if [block.kind for block in reference.blocks] != [block.kind for block in spec.blocks]:
            continue
        if faults(shapes, expected_shapes(reference, timm_names(reference))):
            continue
        reason = difference(spec, reference)
        if not reason:
            return network
        reasons.append(f"{reason} in timm's {network.name}")
    why = reasons[0] if reasons else "no width gives these channels"
    raise UserError(f"{spec.name}: timm has no such network: {why}")


def _settings(spec: Spec, reference: Spec) -> int:
    """How many settings of timm lead from `reference` to `spec`: a `tf_` name is taken for a network that pads so."""
    return (spec.padding != reference.padding) + (spec.norm.eps != reference.norm.eps)


def _creation(spec: Spec, network: TimmNetwork) -> str:
    """The Python that makes the network in timm."""
    settings = [f"num_classes={spec.head.outputs}"] if spec.head.classes else ["num_classes=0"]
    if spec.in_channels != 3:
        settings.append(f"in_chans={spec.in_channels}")
    if spec.padding != network.spec.padding:
        settings.append(f"pad_type={'same' if spec.padding == 'same' else ''!r}")
    if spec.norm.eps != network.spec.norm.eps:
        settings.append(f"bn_eps={spec.norm.eps:g}")
    start = network.make or f"timm.create_model({network.name!r}"
    return f"{start}, {', '.join(settings)})"
