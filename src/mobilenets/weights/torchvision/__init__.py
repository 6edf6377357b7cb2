"""torchvision's state dicts, in and out; of a detector or a segmentation network the backbone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...arch.spec import Spec
from ...errors import UserError
from ..names import Shape, check_state, expected_shapes, faults, misfit, ours, shapes_of, tensor_shapes
from ..outgoing import difference, renamed, write_state
from ..recognised import Recognised
from ..state import StateFile, read_file
from ..state_network import network_facts, with_ends, with_preprocessing
from .dense import Dense, backbone_names, find_dense
from .networks import (
    PUBLISHED,
    TorchvisionNetwork,
    as_backbone,
    networks,
    preprocessing,
    torchvision_names,
)

_STEM = "features.0.0.weight"
_NOT_BACKBONE = "not part of the backbone"


def matches(path: str | os.PathLike[str]) -> bool:
    """Whether the file holds tensors named as torchvision names them. Raises UserError where it cannot be read."""
    tensors = read_file(path).tensors
    return _STEM in tensors or find_dense(tensors) is not None


def read(path: str | os.PathLike[str], architecture: str | None = None, *, backbone: bool = False) -> Recognised:
    """A state dict of a torchvision MobileNet as a network of ours.

    The network is the one whose tensors have these names and shapes, of `architecture` where that is given. With
    `backbone` the blocks alone are taken, of a classifier, a detector or a segmentation network; the rest is set aside.
    Raises UserError, one line, where the file cannot be read, is another network, or lacks a tensor or has one too
    many.
    """
    file = read_file(path)
    dense = find_dense(file.tensors)
    if dense is not None and not backbone:
        raise UserError(
            f"{file.path}: torchvision's {dense.name}, {dense.task}: that task is not there yet; "
            "allowed is to take its backbone alone (backbone)"
        )
    originals = _inside(file, dense, backbone)
    outside = {name: _NOT_BACKBONE for name in file.tensors if name not in originals}
    inner = replace(file, tensors={originals[name]: file.tensors[name] for name in originals})
    found = _find(inner, architecture, dense, backbone)
    spec, pictures = _with_pictures(found, Path(path), dense)
    return Recognised(
        format=f"torchvision ({file.container})",
        spec=spec,
        state=ours(inner, spec, torchvision_names(spec)),
        used=file.file_names(list(originals)),
        set_aside=file.set_aside | dict(zip(file.file_names(list(outside)), outside.values())),
        facts=_facts(spec, found, pictures, dense) | file.facts,
    )


def to_torchvision(
    spec: Spec, state: Mapping[str, np.ndarray], path: str | os.PathLike[str], labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes the network to `path` (.safetensors or .pth) in torchvision's names. Returns {path, sha256, facts}.

    The fact `create` is the Python that makes the network in torchvision. Raises UserError, one line, on another suffix
    and on a network that torchvision does not have.
    """
    names = torchvision_names(spec)
    check_state(spec, state)
    same = _same_network(spec, names)
    hidden = "head.hidden.conv.weight"  # a linear layer in torchvision, a 1x1 convolution here
    linear = {hidden: tensor_shapes(spec)[hidden][:2]} if spec.head.c_hidden else {}
    written = write_state(Path(path), renamed(spec, state, names, linear), spec, labels)
    return written | {"facts": {"architecture": f"torchvision's {same.name}", "create": _creation(spec, same)}}


# which network -------------------------------------------------------------------------------------------------------


def _inside(file: StateFile, dense: Dense | None, backbone: bool) -> dict[str, str]:
    """The file's names of what is taken -> a classifier's names."""
    if dense is not None:
        return backbone_names(dense, file.tensors)
    return {name: name for name in file.tensors if not backbone or name.startswith("features.")}


def _find(file: StateFile, architecture: str | None, dense: Dense | None, backbone: bool) -> TorchvisionNetwork:
    """The first network whose tensors are the file's, fitted to its classes and channels. Raises UserError."""
    shapes = shapes_of(file)
    nearest: tuple[str, list[str]] | None = None
    for network in networks(architecture or ""):
        spec = _adapted(network.spec, shapes)
        if backbone:
            spec = as_backbone(spec, dilated=dense is not None and dense.dilated, eps=dense.eps if dense else None)
        found = faults(shapes, expected_shapes(spec, torchvision_names(spec)))
        if not found:
            return replace(network, spec=spec)
        if nearest is None or len(found) < len(nearest[1]):
            nearest = network.name, found
    assert nearest is not None
    raise misfit(file, "torchvision", *nearest)


def _adapted(spec: Spec, shapes: Mapping[str, Shape]) -> Spec:
    last = "classifier.1.weight" if spec.generation == 2 else "classifier.3.weight"
    return with_ends(spec, shapes.get(last, ()), shapes.get(_STEM, ()))


# what it is told -----------------------------------------------------------------------------------------------------


def _with_pictures(network: TorchvisionNetwork, path: Path, dense: Dense | None) -> tuple[Spec, str]:
    """The Spec with torchvision's preprocessing, and where that is known from."""
    if dense is not None:
        pre = preprocessing(256)
        if dense.half:
            pre = replace(pre, mean=(127.5,) * 3, std=(127.5,) * 3)
        return with_preprocessing(network.spec, pre), f"torchvision's pixels for {dense.name}"
    weights = [each for each in PUBLISHED if each.architecture == network.name]
    named = next((each for each in weights if each.file == path.name), None)
    chosen = named or weights[0]
    source = f"torchvision's for {chosen.architecture} {chosen.weights}"
    if named is None:
        source += "; the file does not say which weights"
    return with_preprocessing(network.spec, preprocessing(chosen.resize)), source


def _facts(spec: Spec, network: TorchvisionNetwork, pictures: str, dense: Dense | None) -> dict[str, str]:
    library = f"torchvision's {dense.name if dense else network.name}"
    facts = network_facts(spec, f"{library}, by its tensors", library, pictures)
    if dense is not None and dense.dilated:
        facts["strides"] = "the last blocks keep the resolution and are dilated by 2, as in the segmentation network"
    return facts


# out -----------------------------------------------------------------------------------------------------------------


def _same_network(spec: Spec, names: Mapping[str, str]) -> TorchvisionNetwork:
    """torchvision's network that does what `spec` does but for settings that torchvision takes. Raises UserError."""
    why = "no width gives these channels by its rule"
    if spec.padding == "same":
        why = "it pads symmetrically alone, this one as TensorFlow does"
    elif spec.in_channels != 3:
        why = f"it takes 3 channels, this one {spec.in_channels}"
    elif not spec.head.classes:
        why = "it always has a classifier"
    else:
        shapes = expected_shapes(spec, names)
        for network in networks():
            reference = _adapted(network.spec, shapes)
            if reference.generation != spec.generation:
                continue
            if faults(shapes, expected_shapes(reference, torchvision_names(reference))):
                continue
            reason = difference(spec, reference)
            if not reason:
                return network
            why = f"{reason} in torchvision's {network.name}"
    raise UserError(f"{spec.name}: torchvision has no such network: {why}")


def _creation(spec: Spec, network: TorchvisionNetwork) -> str:
    """The Python that makes the network in torchvision."""
    settings = [f"num_classes={spec.head.outputs}"]
    if spec.norm.eps != network.spec.norm.eps:
        constants = f"eps={spec.norm.eps:g}, momentum={spec.norm.momentum:g}"
        settings.append(f"norm_layer=functools.partial(torch.nn.BatchNorm2d, {constants})")
    comma = "" if network.make.endswith("(") else ", "
    return f"{network.make}{comma}{', '.join(settings)})"
