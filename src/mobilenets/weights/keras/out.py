"""Our networks as Keras files, each reloaded in Keras and compared before it counts as written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...arch.spec import Head, Spec
from ...digest import digest
from ...errors import UserError
from ...nn.network import build_network
from ..names import check_merged
from ..recognise.match import find_architecture
from .model import keras_model, rescales
from .names import style_of
from .runtime import answers, import_keras, logits_model, quiet_keras
from .weights import EPS

SUFFIXES = (".weights.h5", ".keras", ".h5")
TOLERANCE = 1e-4  # of the largest logit
_IMAGES, _SEED = 4, 0


def to_keras(spec: Spec, state: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Writes the network to `path` (.keras, .h5 or .weights.h5) and says how far Keras' logits are from ours.

    The model ends in a softmax, as in keras.applications, and takes normalised pixels; V3 with the normalisation of
    keras.applications takes raw ones, as there. Returns {path, sha256, max_abs_error, largest, facts}: the error
    before the softmax on random images, `largest` the largest logit; facts {input, output}, and for weights alone
    unlike_keras_applications where the network there differs in what they do not carry. Raises UserError on an
    unknown suffix, a network that Keras has no layers for, or where Keras is missing; RuntimeError where the file
    is off.
    """
    check_merged(spec)
    suffix = next((each for each in SUFFIXES if path.name.endswith(each)), None)
    if suffix == ".weights.h5" and spec.norm.kind == "none":
        raise UserError(
            f"{path}: weights alone fit no network of keras.applications once BatchNorm is folded in; allowed is .keras"
        )
    if suffix is None:
        raise UserError(f"{path}: unknown kind of Keras file; allowed: {', '.join(SUFFIXES)}")
    import_keras()
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet_keras(), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / f"model{suffix}"
        model = keras_model(spec, state)
        model.save_weights(written) if suffix == ".weights.h5" else model.save(written)
        error, largest = _proof(spec, state, written, suffix)
        if not error <= TOLERANCE * largest:
            raise RuntimeError(f"{path}: Keras' logits differ by {error:.3g}, the largest being {largest:.3g}")
        sha256 = digest(written)
        os.replace(written, path)
    facts = {"input": _input(spec), "output": "softmax" if spec.head.classes else "pooled features"}
    unlike = _unlike(spec) if suffix == ".weights.h5" else ""
    if unlike:
        facts["unlike_keras_applications"] = unlike
    return {"path": str(path), "sha256": sha256, "max_abs_error": error, "largest": largest, "facts": facts}


def _input(spec: Spec) -> str:
    if rescales(spec):
        return "RGB pixels 0...255; the model rescales them"
    mean, std = (
        "/".join(f"{x:g}" for x in dict.fromkeys(each)) for each in (spec.preprocessing.mean, spec.preprocessing.std)
    )
    return f"RGB pixels as (x - {mean}) / {std}; no rescaling inside"


def _unlike(spec: Spec) -> str:
    """What weights alone do not carry and the network of keras.applications that takes them has otherwise."""
    own = find_architecture(spec.blocks, Head(c_in=spec.head.c_in, classes=0))
    if not style_of(spec) or own is None:
        return "no network there has these layers"
    found = []
    if spec.padding != "same" or any(block.pad for block in spec.blocks):
        found.append("padding")
    if spec.norm.eps != EPS:
        found.append("BatchNorm epsilon")
    if [block.act for block in spec.blocks] != [block.act for block in own.blocks]:
        found.append("activations")
    return ", ".join(found)


def _proof(spec: Spec, state: dict[str, np.ndarray], written: Path, suffix: str) -> tuple[float, float]:
    """The largest difference between the file in Keras and our network, and our largest logit."""
    keras = import_keras()
    if suffix == ".weights.h5":
        zeros = {name: np.zeros_like(values) for name, values in state.items()}
        model = keras_model(spec, zeros)
        model.load_weights(written)
    else:
        model = keras.saving.load_model(written, compile=False)
    pixels = (
        np.random.default_rng(_SEED)
        .integers(0, 256, (_IMAGES, spec.resolution, spec.resolution, spec.in_channels))
        .astype(np.float32)
    )
    mean, std = (np.asarray(each, np.float32) for each in (spec.preprocessing.mean, spec.preprocessing.std))
    normalised = (pixels - mean) / std
    network = build_network(spec).eval()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    with torch.inference_mode():
        ours = network(torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))).numpy()
    theirs = answers(logits_model(model), pixels if rescales(spec) else normalised)
    return float(np.abs(ours - theirs).max()), float(np.abs(ours).max())
