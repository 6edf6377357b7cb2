"""SIGTERM and Ctrl-C during training: noted at once, obeyed where a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ..errors import Terminated


class Stop:
    """Notes SIGTERM and SIGINT inside its block; a second Ctrl-C interrupts where it is.

    Python knows signals in the main thread alone; in another nothing is noted, and they do what they did before.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or number

    def obey(self, number: int | None = None) -> None:
        """Raises what ends the process, where it was asked to: Terminated or KeyboardInterrupt.

        `number` is the signal that another process was asked by.
        """
        asked = self.asked or number
        if asked == signal.SIGINT:
            raise KeyboardInterrupt
        if asked is not None:
            raise Terminated
