"""Reads TensorFlow.js models: model.json and its shards, a layers model (Keras' configuration) or a graph model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..graph import Graph, Source
from ..keras.config import graph_of
from ..keras.layers import Stored
from .graph import graph_of_nodes
from .shards import Shards, read_shards

JSON_LIMIT = 64 * 2**20  # bytes; a detector's has 0.6 MB
KERAS_2 = "2.0.0"  # the rules of TensorFlow.js' own layers, where the file does not name a Keras


def matches(path: Path) -> bool:
    """Whether the path is a model.json of TensorFlow.js or a folder with one."""
    file = path / "model.json" if path.is_dir() else path
    if file.suffix.lower() != ".json" or not file.is_file() or file.stat().st_size > JSON_LIMIT:
        return False
    content = file.read_bytes()
    return b'"modelTopology"' in content and b'"weightsManifest"' in content


def read(path: Path) -> Source:
    """The network of a model.json (or of the folder it stands in) and its shards.

    Raises UserError, one line, where the file is damaged, a shard is missing or of another length, or the topology
    holds what no network has.
    """
    file, model = _open(path)
    shards = read_shards(model["weightsManifest"], file)
    topology = model.get("modelTopology")
    if not isinstance(topology, dict):
        raise UserError(f"{file}: it has no topology, only weights")
    facts = _facts(model, shards)
    entry = None
    if isinstance(topology.get("node"), list):
        graph, entry = graph_of_nodes(topology, _signature(model, file), shards.tensors, str(file))
        kind = "graph model"
    else:
        graph, kind = _layers_graph(topology, shards, file), "layers model"
    if entry is not None:
        facts["preprocessing"] = entry.fact()
    return Source(
        format=f"TensorFlow.js {kind}",
        graph=graph,
        normalisation=None if entry is None else entry.normalisation(graph.channels),
        quantisation=_quantisation(shards),
        files=(file, *shards.paths),
        facts=facts,
    )


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the manifest by name, exactly as TensorFlow.js has it in memory: (H, W, I, O) kernels."""
    file, model = _open(path)
    return read_shards(model["weightsManifest"], file).tensors


def _open(path: Path) -> tuple[Path, dict[str, Any]]:
    """The path of the model.json and what it holds."""
    file = path / "model.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such file; a TensorFlow.js model is a model.json beside its shards")
    if file.stat().st_size > JSON_LIMIT:
        raise UserError(f"{file}: {file.stat().st_size} bytes are too many for a model.json (up to {JSON_LIMIT})")
    try:
        model = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON that can be read: {str(error)[:120]}") from None
    if not isinstance(model, dict) or not isinstance(model.get("weightsManifest"), list):
        raise UserError(f"{file}: not a TensorFlow.js model: it has no weightsManifest")
    return file, model


def _signature(model: dict[str, Any], file: Path) -> dict[str, Any]:
    """The names of inputs and outputs, which stand in one of two places or nowhere."""
    further = model.get("userDefinedMetadata")
    found = model.get("signature") or (further.get("signature") if isinstance(further, dict) else None) or {}
    if not isinstance(found, dict):
        raise UserError(f"{file}: its signature is no object")
    return found


def _layers_graph(topology: dict[str, Any], shards: Shards, file: Path) -> Graph:
    """The graph of Keras' configuration, the weights found by the names that the converter kept: conv1/kernel."""
    config = topology.get("model_config", topology)
    if not isinstance(config, dict) or "config" not in config:
        raise UserError(f"{file}: its topology is neither a GraphDef (node) nor a Keras configuration (model_config)")
    version = str(topology.get("keras_version", ""))
    version = version if version[:1].isdigit() else KERAS_2  # "tfjs-layers 4.22.0": saved by TensorFlow.js itself
    by_scope: dict[str, dict[str, str]] = {}
    for name in shards.tensors:
        scope, _, role = name.rpartition("/")
        by_scope.setdefault(scope, {})[role.split(":")[0]] = name

    def weights(path: tuple[str, ...]) -> dict[str, Stored]:
        """A nested model's name may stand before its layers' or not, by the version of the converter."""
        scopes = [s for s in ("/".join(path), path[-1]) if s in by_scope]
        scopes = scopes or [s for s in by_scope if s.endswith(f"/{path[-1]}")]
        if len(scopes) > 1 and scopes[0] != "/".join(path):
            raise UserError(f"{file}: the layer {path[-1]} has weights under {' and '.join(scopes[:2])}")
        names = by_scope[scopes[0]] if scopes else {}
        return {role: Stored(name, shards.tensors[name]) for role, name in names.items()}

    try:
        return graph_of(config, weights, tuple(shards.tensors), where=str(file), version=version)
    except RecursionError:
        raise UserError(f"{file}: the model configuration is nested too deeply") from None


def _quantisation(shards: Shards) -> str:
    whole = sorted(shards.stored & {"uint8", "uint16"})
    return f"{' and '.join(whole)}, per tensor, weights only" if whole else ""


def _facts(model: dict[str, Any], shards: Shards) -> dict[str, str]:
    facts = {
        key: str(model[name])
        for key, name in (("generated by", "generatedBy"), ("converted by", "convertedBy"))
        if model.get(name)
    }
    if shards.stored - {"float32"}:
        facts["stored as"] = ", ".join(sorted(shards.stored))
    return facts
