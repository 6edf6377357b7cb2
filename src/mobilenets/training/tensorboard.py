"""TensorBoard events of a Run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCALARS = ("train_loss", "val_loss", "val_top1", "lr", "images_per_second")


class Events:
    """An events file in the Run's folder for one process, see `tracking.Tracker`; made with the first epoch.

    TensorBoard reads a folder as one run, and purges what an earlier process logged beyond the last epoch on disk.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.after_epoch = 0  # the last whole epoch that is on disk
        self.writer: Any = None

    def start(self, history: Sequence[dict[str, Any]]) -> None:
        """See `Tracker`."""
        self.after_epoch = len(history)

    def log(self, row: dict[str, Any]) -> None:
        """Adds one epoch's numbers."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self.writer is None:
            self._open()
        values = [Summary.Value(tag=name, simple_value=float(row[name])) for name in SCALARS if name in row]
        self.writer.add_event(Event(step=row["epoch"], wall_time=time.time(), summary=Summary(value=values)))
        self.writer.flush()

    def finish(self, evaluation: dict[str, Any]) -> None:
        """Nothing: the scores of the reported split are no curve."""

    def close(self, error: BaseException | None) -> None:
        """Writes what is left."""
        if self.writer is not None:
            self.writer.close()

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.run))
        start = SessionLog(status=SessionLog.START)
        self.writer.add_event(Event(step=self.after_epoch + 1, session_log=start))
