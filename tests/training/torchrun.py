"""Two processes on this machine, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def torchrun(*arguments: object, restarts: int = 0, timeout: float = 550) -> subprocess.CompletedProcess[str]:
    """Runs `torchrun --nproc-per-node 2 ARGUMENTS` to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [*command, f"--max-restarts={restarts}", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, told = process.communicate(timeout=timeout)
    finally:
        process.terminate()  # where the time is over: it ends its workers
    return subprocess.CompletedProcess(process.args, process.returncode, printed, told)
