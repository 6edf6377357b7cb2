"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # it inherits what the process that spreads the tests has set
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["MOBILENETS_DECODED_GB"] = "0"  # no test fills the user's cache; those of the cache set their own bound

# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that: the tests that press
# Ctrl-C would wait forever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that sets PyTorch's threads leaves no more of them to the next: on busy cores they wait for each other."""
    yield
    torch = sys.modules.get("torch")
    count = int(os.environ["OMP_NUM_THREADS"])
    if torch is not None and torch.get_num_threads() != count:
        torch.set_num_threads(count)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, weights and recorded outputs; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MOBILENETS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"needs the shared test data; {folder} is absent (MOBILENETS_SHARED names another place)")
    return folder
