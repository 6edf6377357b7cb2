"""Every example in a docstring is true."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import mobilenets

SOURCE = Path(mobilenets.__file__).parent
MODULES = ["mobilenets", *(found.name for found in pkgutil.walk_packages([str(SOURCE)], "mobilenets."))]


def with_examples(name: str) -> bool:
    """Whether the module's source has an example, so that the others need not be imported."""
    place = SOURCE.joinpath(*name.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ">>> " in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in MODULES if with_examples(name)])
def test_the_examples_of_a_module(name: str) -> None:
    outcome = doctest.testmod(import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
