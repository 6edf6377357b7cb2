"""Libraries that only some commands need: each has an extra that installs it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import UserError


def require(extra: str, *modules: str) -> list[Any]:
    """The modules, imported. Raises UserError with the command that installs them when one is missing."""
    found = []
    for name in modules:
        try:
            found.append(import_module(name))
        except ImportError as error:
            missing = error.name or name
            raise UserError(f'{missing} is not installed; run: pip install "mobilenets[{extra}]"') from None
    return found
