"""Libraries that only some commands need: each has an extra that installs it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .errors import UserError

# What no extra can install, because one of its own requirements contradicts ours, and the commands that do.
_BESIDE = {"litert_torch": "pip install litert-torch; then: pip install --upgrade typing_extensions"}


def require(extra: str, *modules: str) -> list[Any]:
    """The modules, imported. Raises UserError with the command that installs them when one is missing."""
    found = []
    for name in modules:
        try:
            found.append(import_module(name))
        except ImportError as error:
            raise UserError(_said(extra, name, error.name or name)) from None
    return found


def absent(extra: str, *modules: str) -> str | None:
    """The line that `require` would end with, found without importing anything; None where all are there."""
    for name in modules:
        if find_spec(name.partition(".")[0]) is None:
            return _said(extra, name, name)
    return None


def _said(extra: str, asked: str, missing: str) -> str:
    command = _BESIDE.get(asked.partition(".")[0], f'pip install "mobilenets[{extra}]"')
    return f"{missing} is not installed; run: {command}"
