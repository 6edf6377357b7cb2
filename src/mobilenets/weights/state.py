"""Files of plain tensors (.safetensors, and what `torch.save` writes), read without running anything in them.

PyTorch's files are pickles. They go through torch's `weights_only` unpickler, which makes tensors and containers and
refuses every other name; a zip is weighed by its declared sizes first. They are read, not mapped: a mapped file's
records are taken at the size that the pickle claims, a read one's are compared with it.
"""

from __future__ import annotations

import argparse
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .archives import check_zip

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 4 * 2**30  # of a file, and of what a zip in it unpacks to: a training checkpoint of the largest MobileNet
_INFLATION = 4  # torch.save stores its records; other zip writers shrink weights a little, never fourfold
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled; the protocol stands before it
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder, in the order of preference
EXTENSIONS = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar", ".ckpt")

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")
_PLAIN = ("state_dict", "model", "model_state_dict")
_REASONS = {
    "optimizer": "optimiser state",
    "optimizer_state_dict": "optimiser state",
    "lr_scheduler": "learning-rate schedule",
    "scheduler": "learning-rate schedule",
    "amp_scaler": "mixed-precision scaler",
    "scaler": "mixed-precision scaler",
    "epoch": "epoch of the training",
    "args": "settings of the training",
    "arch": "name of the network",
    "version": "version of the checkpoint",
    "metric": "metric of the training",
}
_PREFIXES = {
    "module.": "of a parallel or averaged model",
    "_orig_mod.": "of a compiled model",
    "model.": "of a model inside a trainer",
}
_COUNTERS = {
    "n_averaged": "number of averaged steps",
    "total_ops": "counter of a profiler",
    "total_params": "counter of a profiler",
}


@dataclass(frozen=True, kw_only=True)
class StateFile:
    """A file of tensors, read: `tensors` under the library's names, in the file's order.

    `prefix` was taken off each name. `set_aside` names what is no part of the network, with the reason. `container` is
    "safetensors" or "PyTorch". `architecture` is the name that a training checkpoint states ("" without). `facts` are
    for a person.
    """

    path: Path
    tensors: dict[str, np.ndarray] = field(repr=False)
    container: str
    prefix: str = ""
    set_aside: dict[str, str] = field(default_factory=dict)
    architecture: str = ""
    facts: dict[str, str] = field(default_factory=dict)

    def file_names(self, names: list[str]) -> tuple[str, ...]:
        """The file's own names of these tensors."""
        return tuple(self.prefix + name for name in names)


def matches(path: str | os.PathLike[str]) -> bool:
    """Whether `path` looks like a file of tensors, or a folder of the Hugging Face Hub that holds one."""
    place = Path(path)
    if place.is_dir():
        return (place / "config.json").is_file() and any((place / name).is_file() for name in WEIGHT_FILES)
    return place.is_file() and place.name.lower().endswith(EXTENSIONS)


def weight_file(path: str | os.PathLike[str]) -> Path:
    """The file of tensors at `path`: itself, or the one in a folder of the Hugging Face Hub. Raises UserError."""
    place = Path(path)
    if not place.exists():
        raise UserError(f"{place}: no such file")
    if place.is_dir():
        for name in WEIGHT_FILES:
            if (place / name).is_file():
                return place / name
        raise UserError(f"{place}: holds no weights; allowed is a folder with {' or '.join(WEIGHT_FILES)}")
    return place


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file by name, and what was set aside with the reason. Raises UserError as `read_file` does."""
    file = read_file(path)
    return file.tensors, file.set_aside


def read_file(path: str | os.PathLike[str]) -> StateFile:
    """The file, or the folder of the Hugging Face Hub, read. Floats become float32, whole numbers stay.

    Raises UserError, naming the file, where it is missing, cut, damaged, of another format, larger than it says, holds
    code, or holds values that are not finite.
    """
    file = weight_file(path)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{file}: {size:,} bytes; allowed are {MAX_BYTES:,}, no MobileNet has more")
    with open(file, "rb") as stream:
        start = stream.read(64)
    if start[:2] == b"PK":
        _weigh_zip(file)
        return _from_checkpoint(file, _unpickled(file))
    if start[2:].startswith(_LEGACY_MAGIC):
        return _from_checkpoint(file, _unpickled(file))
    if start[8:9] == b"{":
        return _from_safetensors(file)
    if not size:
        raise UserError(f"{file}: the file is empty")
    if start[:1] == b"\x80":
        raise UserError(f"{file}: a pickle, not a file of torch.save; it may run code and is not read")
    raise UserError(f"{file}: neither safetensors nor a file of torch.save, or its beginning is damaged")


def _from_safetensors(file: Path) -> StateFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({_one_line(error)})") from None
    return _finished(file, "safetensors", tensors, {}, {})


def _weigh_zip(file: Path) -> None:
    """Raises UserError unless the zip is a PyTorch file of tensors whose declared sizes are plausible."""
    check_zip(file, limit_bytes=MAX_BYTES, ratio=_INFLATION)
    with zipfile.ZipFile(file) as archive:
        names = {name.split("/", 1)[-1] for name in archive.namelist()}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise UserError(
            f"{file}: a TorchScript archive, which holds code; allowed is a state dict (model.state_dict())"
        )
    if "data.pkl" not in names:
        raise UserError(f"{file}: a zip that is no file of torch.save; allowed is a state dict (model.state_dict())")
    _check_sums(file)


def _check_sums(file: Path) -> None:
    """Raises UserError unless each record has its checksum: torch reads stored records without looking at it."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        raise UserError(f"{file}: a PyTorch file that is cut or damaged ({_one_line(error)})") from None
    if damaged is not None:
        raise UserError(f"{file}: a PyTorch file that is cut or damaged (the checksum of {damaged} does not fit)")


def _unpickled(file: Path) -> Any:
    """What `torch.save` wrote; names other than torch's own containers, and the settings record, are refused."""
    import torch

    try:
        # A training script's settings are an argparse.Namespace: a record without behaviour.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # a hostile file may raise anything; nothing of it has been run
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise UserError(
                f"{file}: holds a pickled {found[1]}, whose code is never run; allowed is a state dict of tensors"
            ) from None
        raise UserError(f"{file}: a PyTorch file that is cut or damaged ({_one_line(error)})") from None


def _from_checkpoint(file: Path, content: Any) -> StateFile:
    """The state dict in what a file holds: itself, or under the key where a training script puts it."""
    set_aside: dict[str, str] = {}
    facts: dict[str, str] = {}
    architecture = ""
    while isinstance(content, Mapping):
        key = next((key for key in (*_AVERAGED, *_PLAIN) if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        architecture = architecture or _stated_architecture(content)
        facts["taken from"] = f"{key} of the checkpoint"
        for other in content:
            if other != key:
                set_aside[str(other)] = _why(str(other), key)
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file}: holds a {type(content).__name__}; allowed is a state dict, names and tensors")
    tensors = {str(name): value for name, value in content.items() if _is_tensor(value)}
    set_aside |= {str(name): _why(str(name), "") for name in content if str(name) not in tensors}
    state = _finished(file, "PyTorch", tensors, set_aside, facts)
    return StateFile(**{**state.__dict__, "architecture": architecture})


def _why(name: str, taken: str) -> str:
    if name in (*_AVERAGED, *_PLAIN) and taken:
        kind = "averaged weights" if name in _AVERAGED else "the weights without averaging"
        return f"{kind}; {taken} is taken"
    return _REASONS.get(name, "no tensor of the network")


def _stated_architecture(content: Mapping[str, Any]) -> str:
    """The name in a training checkpoint: `arch`, or `model` of its settings."""
    settings = content.get("args")
    stated = content.get("arch") or getattr(settings, "model", None) or getattr(settings, "arch", None)
    return stated if isinstance(stated, str) else ""


def _finished(
    file: Path, container: str, tensors: dict[str, Tensor], set_aside: dict[str, str], facts: dict[str, str]
) -> StateFile:
    """The record: counters set aside, a common prefix off, values as checked arrays."""
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        reason = _COUNTERS.get(name.rsplit(".", 1)[-1])
        if reason:
            set_aside[name] = reason
        else:
            kept[name] = tensor
    if not kept:
        raise UserError(f"{file}: holds no tensors")
    prefix = _common_prefix(list(kept))
    if prefix:
        why = next(words for start, words in _PREFIXES.items() if prefix.startswith(start))
        facts["prefix"] = f"{prefix!r} of every name taken off ({why})"
    arrays = {name[len(prefix) :]: _array(file, name, tensor) for name, tensor in kept.items()}
    types = sorted({str(t.dtype).removeprefix("torch.") for t in kept.values() if t.is_floating_point()})
    if types and types != ["float32"]:
        facts["precision"] = f"{' and '.join(types)} in the file, float32 here"
    return StateFile(path=file, tensors=arrays, container=container, prefix=prefix, set_aside=set_aside, facts=facts)


def _common_prefix(names: list[str]) -> str:
    prefix = ""
    while True:
        more = next((p for p in _PREFIXES if all(name.startswith(prefix + p) for name in names)), "")
        if not more:
            return prefix
        prefix += more


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _array(file: Path, name: str, tensor: Tensor) -> np.ndarray:
    """Floats as float32, whole numbers as they are. Raises UserError on other kinds and on values not finite."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise UserError(f"{file}: {name} is no plain array of numbers (a sparse, quantised or complex tensor)")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{file}: {name} claims shape {tuple(tensor.shape)}, more than the file holds")
    if not tensor.is_floating_point():
        return tensor.detach().numpy().copy()
    array = tensor.detach().to(torch.float32).contiguous().numpy().copy()
    if not np.isfinite(array).all():
        raise UserError(f"{file}: {name} holds values that are not finite")
    return array


def _one_line(error: BaseException) -> str:
    """The first sentence of a library's message, or the name of what it raised."""
    text = str(error).strip().splitlines()
    return text[0].split(". ")[0].strip().rstrip(".")[:120] if text else type(error).__name__
