"""Who follows a training: TensorBoard always, MLflow where it is asked for, or an object of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import UserError

TRACKERS = ("mlflow",)  # that a name stands for


@runtime_checkable
class Tracker(Protocol):
    """One that follows a training. The Run's folder, which it was given, holds all that there is to know.

    Called in this order: `start` once, `log` after each epoch that is on disk, `finish` once the report is written,
    `close` in any case. A training that was stopped and goes on starts anew, with the epochs that it has.
    """

    def start(self, history: Sequence[dict[str, Any]]) -> None:
        """Begins, or goes on after the epochs of `history`, which are rows of metrics.jsonl."""

    def log(self, row: dict[str, Any]) -> None:
        """Takes the row of an epoch."""

    def finish(self, evaluation: dict[str, Any]) -> None:
        """Takes the scores on the reported split, as evaluation.json has them; all files of the Run are there."""

    def close(self, error: BaseException | None) -> None:
        """Ends, because all is done or because of `error`: KeyboardInterrupt or Terminated where it was stopped."""


def open_trackers(track: str | Tracker | None, run: Path) -> list[Tracker]:
    """TensorBoard, and what `track` names; nothing is written yet.

    Raises UserError, one line, for an unknown name, a package that is not installed, a server that does not answer.
    """
    from .tensorboard import Events

    trackers: list[Tracker] = [Events(run)]
    if track == "mlflow":
        from .mlflow import MlflowTracker

        trackers.append(MlflowTracker(run))
    elif isinstance(track, str):
        raise UserError(f"unknown tracker {track!r}; allowed: {', '.join(TRACKERS)}")
    elif track is not None:
        if not isinstance(track, Tracker):
            raise UserError(f"track {track!r} is no tracker: it has start, log, finish and close")
        trackers.append(track)
    return trackers


@contextmanager
def tracked(trackers: Sequence[Tracker], history: Sequence[dict[str, Any]]) -> Iterator[None]:
    """All of them from `start` to `close`, however the block ends."""
    error: BaseException | None = None
    started: list[Tracker] = []
    try:
        for tracker in trackers:
            started.append(tracker)
            tracker.start(history)
        yield
    except BaseException as caught:
        error = caught
        raise
    finally:
        for tracker in started:
            tracker.close(error)
