"""The process that trains one network of an experiment: `python -m mobilenets.papers.experiments.worker`.

It reads its job, one line of JSON, from stdin, and answers with one JSON document on stdout; everything said goes to
stderr. stdin stays open: when it ends, whoever gave the job is gone, and the process ends as by SIGTERM: a training
keeps what it has, and goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ...errors import Terminated, UserError

USER_ERROR, TERMINATED = 2, 143
GRACE = 60.0  # seconds to write a checkpoint


def main() -> int:
    """Does the job: `{"do": "train" or "time", "arguments": {...}}`. A UserError is one line on stderr, status 2."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_giver, daemon=True).start()
    try:
        json.dump(_JOBS[job["do"]](**job["arguments"]), answers)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return USER_ERROR
    except Terminated:
        return TERMINATED
    answers.close()
    return 0


def _end_with_giver() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(TERMINATED)


def _train(**arguments: Any) -> dict[str, Any]:
    """A training by `mobilenets.train`, and on which of the reported images its network is right."""
    from ...api import train
    from .answers import right_answers

    result = train(**arguments)
    hits, split = right_answers(arguments["out"], arguments["data"])
    return {"result": result, "right": hits, "split": split}


def _time(**arguments: Any) -> dict[str, float]:
    from .timing import time_training

    return time_training(**arguments)


_JOBS: dict[str, Callable[..., Any]] = {"train": _train, "time": _time}


if __name__ == "__main__":
    sys.exit(main())
