"""What goes wrong in a person's first hour ends with status 2 and one line, and nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shells import Ended, assert_user_error, make_pictures

from mobilenets.cli.main import main

Command = Callable[..., Ended]
SMALL = ["--model", "mobilenet_v1", "--width", "0.25", "--resolution", "32", "--batch-size", "8", "--epochs"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of coloured noise."""
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", {"cold": 16, "warm": 16})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "run"


def test_a_wrong_path(command: Command, pictures: Path, out: Path) -> None:
    assert_user_error(command("train", pictures.with_name("pictuers"), "--out", out), "pictuers", "no such file")
    assert not out.exists()


def test_an_empty_folder(command: Command, tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_user_error(command("train", tmp_path / "empty", "--out", out), "empty", "one folder per class")
    assert not out.exists()


def test_one_class(command: Command, tmp_path: Path, out: Path) -> None:
    make_pictures(tmp_path / "one", {"cold": 4})
    assert_user_error(command("train", tmp_path / "one", "--out", out), "only one class", "cold", "two")
    assert not out.exists()


def test_a_class_without_images(command: Command, tmp_path: Path, out: Path) -> None:
    make_pictures(tmp_path / "gap", {"cold": 4, "warm": 4})
    (tmp_path / "gap" / "wet").mkdir()
    assert_user_error(command("train", tmp_path / "gap", "--out", out), "'wet'")
    assert not out.exists()


def test_a_text_file_named_jpg(command: Command, tmp_path: Path, out: Path) -> None:
    make_pictures(tmp_path / "text", {"cold": 12, "warm": 12})
    (tmp_path / "text" / "cold" / "notes.jpg").write_text("these are notes\n" * 20)
    assert_user_error(command("train", tmp_path / "text", "--out", out, *SMALL, 4), "cold/notes.jpg", "data check")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--model", "mobilenet_v3_smal", ["unknown model 'mobilenet_v3_smal'", "did you mean mobilenet_v3_small"]),
        ("--width", "0", ["width 0", "above 0"]),
        ("--resolution", "15", ["resolution 15", "16 or more"]),
        ("--epochs", "0", ["epochs 0", "1 or more"]),
        ("--minutes", "-1", ["minutes -1", "above 0"]),
        ("--batch-size", "0", ["batch size 0"]),
        ("--lr", "0", ["lr 0", "above 0"]),
        ("--recipe", "defualt", ["unknown recipe 'defualt'", "default"]),
        ("--device", "tpu", ["tpu", "cpu"]),
        ("--threads", "0", ["threads 0", "1 or more"]),
        ("--bach-size", "8", ["unknown option --bach-size", "did you mean --batch-size?"]),
    ],
)
def test_a_setting_out_of_range(
    command: Command, pictures: Path, out: Path, option: str, value: str, words: list[str]
) -> None:
    assert_user_error(command("train", pictures, "--out", out, option, value), *words)
    assert not out.exists()


def test_a_file_in_the_place_of_the_output_folder(command: Command, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert_user_error(command("train", pictures, "--out", tmp_path / "file", *SMALL, 1), "file")
    assert_user_error(command("train", pictures, "--out", tmp_path / "file" / "run", *SMALL, 1), "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_something_else_is_not_overwritten(command: Command, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    for more in ((), ("--restart",)):
        ended = command("train", pictures, "--out", tmp_path / "letters", *SMALL, 1, *more)
        assert_user_error(ended, "letters", "not empty")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["letter.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_output_folder(command: Command, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    ended = command("train", pictures, "--out", tmp_path / "locked" / "run", *SMALL, 1)
    assert_user_error(ended, "locked", "Permission denied")


def test_a_file_system_that_takes_no_folder(command: Command, pictures: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no /proc")
    assert_user_error(command("train", pictures, "--out", "/proc/self/run", *SMALL, 1), "/proc/self/run")


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 200 kB: what a full disk does to a checkpoint."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up(command: Command, pictures: Path, out: Path, little_room: None) -> None:
    assert_user_error(command("train", pictures, "--out", out, *SMALL, 1), str(out), "File too large")
    assert list(out.rglob("*.part")) == []
    assert list(out.rglob("*.safetensors")) == []


@pytest.fixture(scope="module")
def trained(pictures: Path) -> Path:
    """A Run of one epoch."""
    folder = pictures.with_name("trained")
    assert main(["train", str(pictures), "--out", str(folder), *SMALL, "1"]) == 0
    return folder


def test_other_arguments_for_the_same_run(command: Command, pictures: Path, trained: Path) -> None:
    ended = command("train", pictures, "--out", trained, *SMALL, 1, "--seed", 3)
    assert_user_error(ended, "seed 0", "now 3", "--restart")


@pytest.mark.parametrize("name", ["last", "best"])
@pytest.mark.parametrize("damage", [b"", b"abc", None], ids=["emptied", "overwritten", "cut"])
def test_a_corrupt_checkpoint(
    command: Command, pictures: Path, trained: Path, tmp_path: Path, name: str, damage: bytes | None
) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "evaluation.json").unlink()
    checkpoint = folder / "checkpoints" / f"{name}.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1000] if damage is None else damage)
    ended = command("train", pictures, "--out", folder, *SMALL, 1)
    assert_user_error(ended, f"{name}.safetensors")
    if name == "best":
        assert_user_error(command("cost", folder), "best.safetensors")


def test_a_run_with_broken_json(command: Command, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "spec.json").write_text('{"format": 1, "blocks": [')
    assert_user_error(command("cost", folder), "spec.json", "not valid JSON")
    (folder / "spec.json").write_text("[]")
    assert_user_error(command("cost", folder), "not a spec")


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(command: Command, pictures: Path, out: Path) -> None:
    arguments = [sys.executable, "-m", "mobilenets", "train", str(pictures), "--out", str(out), *SMALL, "400"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not metrics.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert printed == ""
    assert "Traceback" not in told
    assert told.splitlines()[-1] == "interrupted; run the same command again to go on from the last checkpoint"
    assert metrics.exists()
