"""The hooks of the documentation's build, imported from where they lie."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from markdown_pages import ROOT


def load(name: str) -> ModuleType:
    """The module docs/hooks/`name`.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
