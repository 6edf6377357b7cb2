"""The program that a rendering process runs: `python -m mobilenets.data.hands.worker`, the share on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys

import cv2

from .work import Share, render_share


def main() -> None:
    """Renders the share on standard input; ends quietly when the parent is gone or the user presses Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    cv2.setNumThreads(1)
    arguments = json.load(sys.stdin)
    share = Share(**{**arguments, "splits": tuple(arguments["splits"])})
    try:
        for row in render_share(share):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        path = str(error.filename or share.folder)
        print(json.dumps({"errno": error.errno, "message": error.strerror or str(error), "path": path}), flush=True)


if __name__ == "__main__":
    main()
