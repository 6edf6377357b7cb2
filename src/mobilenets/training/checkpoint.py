"""Checkpoints: safetensors with a JSON header, written whole or not at all. Nothing pickled is ever read."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..atomic import replacing
from ..errors import UserError


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Writes the tensors and a JSON header to `path`, all or nothing."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata={"mobilenets": json.dumps(header)})


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a checkpoint. Raises UserError, naming the file, when it is missing or corrupt."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["mobilenets"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a whole checkpoint of mobilenets ({error})") from None


def load_network_(network: nn.Module, tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Puts the tensors into the network; every name and shape must fit. Raises UserError naming what does not."""
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        word = f"lacks {missing[0]}" if missing else f"has {extra[0]} too much"
        raise UserError(f"{path}: the weights do not fit the network: it {word} ({len(missing + extra)} such tensors)")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise UserError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)} where {tuple(tensor.shape)} is needed"
            )
    network.load_state_dict(tensors)


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors named `INDEX.NAME`."""
    found = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                found[f"{index}.{name}"] = torch.as_tensor(value)
    return found


def load_optimiser_(optimiser: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts what `optimiser_tensors` gave back into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        if value.ndim == 4:  # as the weights lie, or every step converts
            value = value.contiguous(memory_format=torch.channels_last)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `prefix/` before each name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors whose name begins with `prefix/`, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
