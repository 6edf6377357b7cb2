"""TensorBoard events of a Run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCALARS = ("train_loss", "val_loss", "val_top1", "lr", "images_per_second")


class Events:
    """An events file in the Run's folder, opened for one process; TensorBoard reads all of a folder as one run.

    `after_epoch` is the last whole epoch on disk: what an earlier process logged beyond it is purged by TensorBoard.
    """

    def __init__(self, run: Path, after_epoch: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(run))
        start = SessionLog(status=SessionLog.START)
        self.writer.add_event(Event(step=after_epoch + 1, session_log=start))

    def log(self, row: dict[str, Any], wall_time: float) -> None:
        """Adds one epoch's numbers; `wall_time` in seconds since 1970."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=float(row[name])) for name in SCALARS if name in row]
        self.writer.add_event(Event(step=row["epoch"], wall_time=wall_time, summary=Summary(value=values)))
        self.writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self.writer.close()
