"""In which precision a training computes: what was asked for, or what the device does fastest."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import UserError
from ..nn.kernels import available

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Precision:
    """`name` is float32, or bfloat16 (autocast of the forward and backward pass); `why` says in a few words why."""

    name: str
    why: str

    @property
    def bfloat16(self) -> bool:
        """Whether the forward and backward pass run under autocast."""
        return self.name == "bfloat16"


FLOAT32 = Precision("float32", "the reference")


def check_precision(name: str) -> None:
    """Raises UserError on a precision that is not known."""
    if name not in PRECISIONS:
        raise UserError(f"unknown precision {name!r}; allowed: {', '.join(PRECISIONS)}")


def choose_precision(name: str, device: torch.device, *, steps: bool = True) -> Precision:
    """What `--precision` comes to on that device. `steps` is false where no gradient flows through the network.

    On a CPU bfloat16 pays where its instructions multiply bfloat16 and our kernels run: torch's own depthwise
    convolutions take twice the time in it (benchmarks/train_step.py; docs/training-speed.md has the figures).
    Raises UserError on a precision that is not known.
    """
    check_precision(name)
    if name != "auto":
        return Precision(name, "asked for")
    if not steps:
        return Precision("float32", "the network only computes features")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bfloat16", "the GPU has it")
        return Precision("float32", "the GPU has no bfloat16")
    if device.type != "cpu":
        return Precision("float32", f"bfloat16 is not tried on {device.type}")
    if not _multiplies_bfloat16():
        return Precision("float32", "the CPU has no bfloat16 products")
    if not available()[0]:
        return Precision("float32", "bfloat16 is slower without the kernels for this CPU")
    return Precision("bfloat16", "the CPU and its kernels have it")


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16 that torch uses."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
