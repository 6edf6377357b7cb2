"""Faster training on CPUs: kernels in C++, built at first use; the plain PyTorch path is reference and fallback."""

from __future__ import annotations

from .binding import loaded


def available() -> tuple[bool, str]:
    """Whether training on this CPU runs through the kernels, and why or why not, in one line.

    The first call on a machine compiles them (some ten seconds); `MOBILENETS_KERNELS=0` switches them off.
    """
    found = loaded()
    return found.library is not None, found.reason
