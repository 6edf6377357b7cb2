"""Fixtures that every test of training may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_shapes import write_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, 120 training and 48 validation pictures of 40 pixels."""
    return write_shapes(tmp_path_factory.mktemp("shapes"))
