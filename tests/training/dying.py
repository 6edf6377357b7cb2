"""A training whose process dies just before one of its writes, and the same command after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mobilenets.training import epochs, head_only, session

OWNERS: dict[str, Any] = {
    "save": session.Session,
    "save_best": session.Session,
    "write_report": epochs,
    "write_text": epochs,
    "store": head_only,
}


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


def die_and_go_on(monkeypatch: pytest.MonkeyPatch, target: str, call: int, train: Callable[[], dict[str, Any]]) -> None:
    """Runs `train` until the write `target` is called for the `call`-th time, then again to its end."""
    owner = OWNERS.get(target, epochs.Training)
    original, count = getattr(owner, target), 0

    def dying(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise Killed
        return original(*args, **options)

    monkeypatch.setattr(owner, target, dying)
    try:
        train()
    except Killed:
        monkeypatch.undo()
        train()
    else:
        assert count < call, "the write was reached and did not stop the training"
