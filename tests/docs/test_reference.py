"""The Reference has every public module, and its docstrings are read as they are meant."""

from __future__ import annotations

import inspect
import pkgutil

import pytest
from docs_hooks import load

import mobilenets

pytest.importorskip("mkdocs", reason="the documentation's packages are not installed")
pytest.importorskip("griffe", reason="the documentation's packages are not installed")


def test_every_public_module_is_in_it() -> None:
    pages = load("reference_pages")
    listed = {name for package in pages.packages() for name in pages.modules(package)}
    found = {
        module.name
        for module in pkgutil.walk_packages(mobilenets.__path__, "mobilenets.")
        if module.name.count(".") > 1 or module.ispkg
    }
    assert listed == {name for name in found if not any(part.startswith("_") for part in name.split("."))}


def test_the_first_page_has_the_whole_api() -> None:
    text = load("reference_pages").first_page()
    for name in mobilenets.__all__:
        function = inspect.unwrap(getattr(mobilenets, name))
        assert f"::: {function.__module__}.{name}\n" in text


def test_examples_and_tables_become_code_blocks() -> None:
    fenced = load("docstring_markdown").fenced
    text = (
        "Adds.\n\n>>> add(1, 2)\n3\n>>> add(2, 2)\n4\n\nMore.\n\n===  ===\na    b\n===  ===\n1    2\n===  ===\n\nEnd."
    )
    assert fenced(text) == (
        "Adds.\n\n```python\n>>> add(1, 2)\n3\n>>> add(2, 2)\n4\n```\n\nMore.\n\n"
        "```text\n===  ===\na    b\n===  ===\n1    2\n===  ===\n```\n\nEnd."
    )
    assert fenced("Plain text.\n\nAnother line = here.") == "Plain text.\n\nAnother line = here."
