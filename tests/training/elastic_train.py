"""Run by torchrun: `mobilenets train` in two processes whose second one dies twice, once for each restart.

`elastic_train.py ARGUMENTS` trains as `mobilenets train ARGUMENTS` does; with `--die` in front the second process is
killed before the fourth step of the first epoch, and the one that takes its place gets SIGTERM in the second epoch.
"""

from __future__ import annotations

import os
import signal
import sys

from mobilenets.cli.main import leave, main
from mobilenets.training.loop import Epoch

DEATHS = {"0": (4, signal.SIGKILL), "1": (6, signal.SIGTERM)}  # by the number of restarts: at which of its steps, how


def run() -> int:
    arguments = sys.argv[1:]
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    if arguments[0] == "--die":
        del arguments[0]
        if restarts in DEATHS:
            die_at(*DEATHS[restarts])
        if restarts == "0":  # a checkpoint after every step; the second time the signal alone writes one
            arguments += ["--checkpoint-minutes", "1e-9"]
    return main(["train", *arguments])


def die_at(number: int, how: signal.Signals) -> None:
    """Sends the second process `how` before its step of that number."""
    original, count = Epoch.step, 0

    def step(self: Epoch) -> None:
        nonlocal count
        count += 1
        if count == number and self.ranks.rank == 1:
            os.kill(os.getpid(), how)
        original(self)

    Epoch.step = step  # type: ignore[method-assign]


if __name__ == "__main__":
    leave(run())
