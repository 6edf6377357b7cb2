"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shells import Ended

from mobilenets.cli.main import main


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command line in this process."""

    def run(*args: object) -> Ended:
        status = main([str(a) for a in args])
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run
