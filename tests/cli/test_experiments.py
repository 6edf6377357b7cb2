"""What `paper --train` refuses before anything is trained."""

from __future__ import annotations

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
