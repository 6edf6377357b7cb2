"""Files of tensors that we wrote ourselves for another library: their header says which network they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..arch.spec import Spec
from ..errors import UserError
from .names import check_fit, expected_shapes, ours
from .outgoing import STAMP
from .recognised import Recognised
from .state import read_file, weight_file


def read_stamped(path: str | os.PathLike[str]) -> Recognised | None:
    """The network that a .safetensors file of ours states, whatever library's names its tensors have; else None.

    Raises UserError, one line, where the tensors are not those of the stated network.
    """
    stamp = _stamp(weight_file(path))
    if stamp is None:
        return None
    from .timm.names import timm_names
    from .torchvision.networks import torchvision_names

    try:
        stated = json.loads(stamp)
        spec, labels = Spec.from_json(stated["spec"]), tuple(str(name) for name in stated["labels"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its header states no network ({type(error).__name__}: {error})") from None
    file = read_file(path)
    torchvision = "features.0.0.weight" in file.tensors
    library, names = ("torchvision", torchvision_names(spec)) if torchvision else ("timm", timm_names(spec))
    check_fit(file, expected_shapes(spec, names), f"the {spec.name} in its header")
    return Recognised(
        format=f"{library} ({file.container})",
        spec=spec,
        state=ours(file, spec, names),
        used=file.file_names(list(file.tensors)),
        set_aside=file.set_aside,
        labels=labels,
        facts={"architecture": f"{spec.name}, as the file's header states", "padding": f"{spec.padding}, likewise"},
    )


def _stamp(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, framework="np") as opened:
            return (opened.metadata() or {}).get(STAMP)
    except (SafetensorError, OSError, ValueError):
        return None  # read_file says what is wrong
