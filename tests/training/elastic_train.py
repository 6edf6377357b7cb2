"""Run by torchrun: a training in two processes whose second one dies twice, once for each restart.

`elastic_train.py ARGUMENTS` trains with the JSON of api.train's arguments; with `--die` the second process is killed
before the fourth step of the first epoch, and the process that takes its place gets SIGTERM in the second epoch.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from mobilenets.api import train
from mobilenets.errors import Terminated, UserError
from mobilenets.training.loop import Epoch

DEATHS = {"0": (4, signal.SIGKILL), "1": (6, signal.SIGTERM)}  # by the number of restarts: at which of its steps, how


def main() -> None:
    settings = json.loads(sys.argv[1])
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    if "--die" in sys.argv and restarts in DEATHS:
        number, how = DEATHS[restarts]
        original, count = Epoch.step, 0

        def step(self: Epoch) -> None:
            nonlocal count
            count += 1
            if count == number and self.ranks.rank == 1:
                os.kill(os.getpid(), how)
            original(self)

        Epoch.step = step  # type: ignore[method-assign]
        settings["checkpoint_minutes"] = 1e-9 if restarts == "0" else None  # the signal alone writes the second time
    try:
        train(**settings)
    except Terminated:
        sys.exit(143)
    except UserError as error:
        if os.environ["RANK"] == "0":
            sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
