"""The library's functions for Python."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from .build import BuildError, load_library

SWITCH = "MOBILENETS_KERNELS"

_POINTER, _INT, _LONG, _FLOAT, _DOUBLE = (
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_float,
    ctypes.c_double,
)
_ARGUMENTS = {
    "depthwise_forward": [_POINTER, _POINTER, _POINTER, _INT, _POINTER, _INT],
    "depthwise_backward": [_POINTER] * 5 + [_INT, _POINTER, _INT],
    "norm_act_forward": [_POINTER] * 3
    + [_INT, _LONG, _LONG, _POINTER, _POINTER, _INT, _DOUBLE]
    + [_POINTER] * 3
    + [_INT],
    "norm_act_backward": [_POINTER] * 3 + [_INT, _LONG, _LONG, _POINTER, _POINTER, _INT] + [_POINTER] * 4 + [_INT],
    "round_forward": [_POINTER, _POINTER, _LONG, _FLOAT, _FLOAT, _FLOAT, _INT],
    "round_backward": [_POINTER] * 4 + [_LONG, _FLOAT, _FLOAT, _FLOAT, _INT],
}


@dataclass(frozen=True)
class Loaded:
    """The library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str


def loaded() -> Loaded:
    """The library, compiled at the first call where need be. `MOBILENETS_KERNELS=0` switches it off at any time."""
    if os.environ.get(SWITCH) == "0":
        return Loaded(None, f"{SWITCH}=0")
    return _load()


@cache
def _load() -> Loaded:
    try:
        library = load_library()
    except BuildError as error:
        return Loaded(None, str(error))
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _INT
    return Loaded(library, "compiled for this machine")


def call(name: str, *arguments: object) -> None:
    """Calls a function of the library; tensors become their addresses. Raises MemoryError where it has none."""
    library = _load().library
    assert library is not None, "asked for before `loaded`"
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if getattr(library, name)(*given):
        raise MemoryError(f"{name}: no memory")
