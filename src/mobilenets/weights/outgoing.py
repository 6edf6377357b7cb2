"""Our networks as another library's file of tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arch.spec import Block, Spec
from ..atomic import replacing
from ..digest import digest
from ..errors import UserError
from .names import Shape, tensor_shapes

SUFFIXES = (".safetensors", ".pth")
STAMP = "mobilenets.network"  # in the header of a .safetensors file
_UNSEEN = ("tap", "layer_scale")  # of a block: a name, and the value from which a factor was trained


def difference(spec: Spec, reference: Spec) -> str:
    """What `spec` does otherwise than `reference`, whose tensors have the same shapes; "" where both do the same.

    Classes, dropout, preprocessing, padding and BatchNorm's constants are left out: every library has settings for
    them.
    """
    for index, (own, theirs) in enumerate(zip(spec.blocks, reference.blocks, strict=True)):
        for name in (field.name for field in fields(Block) if field.name not in _UNSEEN):
            mine, wanted = getattr(own, name), getattr(theirs, name)
            if mine != wanted and not (index == 0 and name == "c_in"):
                return f"block {index} has {name} {mine} instead of {wanted}"
    if replace(spec.head, dropout=0.0) != replace(
        reference.head, dropout=0.0, classes=spec.head.classes, background=spec.head.background
    ):
        return "its head is another one"
    if any(block.c_se for block in spec.blocks):
        mine, wanted = (spec.se_act, spec.se_gate), (reference.se_act, reference.se_gate)
        if mine != wanted:
            return f"its squeeze-and-excite has {' and '.join(mine)} instead of {' and '.join(wanted)}"
    return ""


def renamed(
    spec: Spec, state: Mapping[str, np.ndarray], names: Mapping[str, str], shapes: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """`state` under the other library's names, in its `shapes` where they are given."""
    return {
        names[own]: np.array(state[own], order="C").reshape(shapes.get(own, shape))
        for own, shape in tensor_shapes(spec).items()
    }


def write_state(path: Path, arrays: Mapping[str, np.ndarray], spec: Spec, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Writes plain tensors to a .safetensors or .pth file, all or nothing. Returns {path, sha256}. Raises UserError.

    A .safetensors file keeps the Spec and the class names in its header, where other libraries do not look: read back,
    it is the same network, padding, epsilon and preprocessing included.
    """
    import torch
    from safetensors.torch import save_file

    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    with replacing(path) as temporary:
        if path.suffix == ".pth":
            torch.save(tensors, temporary)
        else:
            stamp = json.dumps({"spec": spec.to_json(), "labels": list(labels)})
            save_file(tensors, temporary, metadata={"format": "pt", STAMP: stamp})
        written = digest(temporary)
    return {"path": str(path), "sha256": written}
