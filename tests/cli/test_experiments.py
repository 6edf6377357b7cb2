"""What `paper --train` refuses before anything is trained, and how Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from shells import Ended, assert_user_error, make_pictures

Command = Callable[..., Ended]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--train", "--data", "x"], ["one experiment, not 0", "v1.table4, v1.table5, v1.fig4"]),
        (["v1.table4", "v1.fig4", "--train", "--data", "x"], ["one experiment, not 2"]),
        (["v1.table8", "--train", "--data", "x"], ["'v1.table8'", "v1.table4, v1.table5, v1.fig4"]),
        (["v1.table4", "--train"], ["--train needs labelled images", "--data"]),
        (["v1.table4", "--train", "--data", "no/such/data"], ["no/such/data", "no such file"]),
        (["v1.table4", "--train", "--data", "x", "--csv", "rows.csv"], ["--csv rows.csv", "without --train"]),
        (["v1.table4", "--data", "x"], ["--data goes with --train"]),
        (["v1.table4", "--full"], ["--full goes with --train"]),
        (["v1.table4", "--train", "--data", "x", "--seeds", "0"], ["seeds 0", "1 or more"]),
        (["v1.table4", "--train", "--data", "x", "--seconds", "0"], ["seconds 0", "above 0"]),
        (["v1.table4", "--train", "--data", "x", "--workers", "0"], ["workers 0", "1 or more"]),
        (["v1.fig4", "--train", "--data", "x", "--resolution", "20"], ["resolution 20", "16 or more"]),
    ],
)
def test_a_request_that_cannot_be_met(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_user_error(command("paper", *args), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_stays_as_it_is(command: Command, tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data", {"cold": 16, "warm": 16})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    options = ["--train", "--data", data, "--out", tmp_path / "out", "--restart"]
    assert_user_error(command("paper", "v1.table4", *options), "is not empty and no experiment")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found through /proc")
def test_ctrl_c_ends_every_training_with_130_and_keeps_their_epochs(tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data", {"cold": 16, "warm": 16}, size=20)
    out = tmp_path / "out"
    options = ["--resolution", "16", "--epochs", "5000", "--seeds", "1", "--workers", "2"]
    arguments = ["paper", "v1.table5", "--train", "--data", str(data), "--out", str(out), *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilenets", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while len(list(out.glob("runs/*/metrics.jsonl"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    tasks = Path(f"/proc/{process.pid}/task")
    children = [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert printed == ""
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("interrupted; run the same command again")
    assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert len(list(out.glob("runs/*/checkpoints/last.safetensors"))) == 2
    assert not (out / "rows.jsonl").exists()
