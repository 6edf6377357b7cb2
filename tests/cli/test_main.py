"""Every ending of a command has its exit status, and stdout carries the answer alone."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from shells import Ended, assert_user_error, shell

from mobilenets import __version__
from mobilenets.cli import networks
from mobilenets.cli.main import VERBS
from mobilenets.cli.output import Answer
from mobilenets.errors import UserError

Command = Callable[..., Ended]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, command: Command) -> Callable[[Callable[[], Any]], Ended]:
    """Runs `mobilenets models` with something else in the verb's place."""

    def run(work: Callable[[], Any], *args: str) -> Ended:
        monkeypatch.setattr(networks, "models", lambda: work())
        return command("models", *args)

    return run


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def test_version_and_help(command: Command) -> None:
    assert command("--version") == Ended(0, f"mobilenets {__version__}\n", "")
    listed = command("--help")
    assert listed.status == 0
    assert command() == listed
    for verb in VERBS.values():
        assert f"  {verb.name} " in listed.out
        assert verb.summary in listed.out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_each_argument_explained(command: Command, name: str) -> None:
    ended = command(*name.split(), "--help")
    assert ended.status == 0
    assert ended.err == ""
    assert f"usage: mobilenets {name}" in ended.out
    documented = import_module(f"mobilenets.cli.{VERBS[name].module}")
    function = getattr(documented, VERBS[name].function)
    for parameter in function.__annotations__:
        if parameter != "return":
            assert f"{parameter}: " in (function.__doc__ or ""), f"{name} does not explain {parameter}"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["cots"], ["unknown verb 'cots'", "did you mean cost?"]),
        (["zzz"], ["unknown verb 'zzz'", "known:", "train"]),
        (["data"], ["`mobilenets data` needs one of: check, show"]),
        (["data", "chek"], ["unknown verb 'data chek'", "did you mean data check?"]),
        (["--json", "models"], ["--json stands before the verb"]),
        (["cost", "mobilenet_v9"], ["unknown model 'mobilenet_v9'", "did you mean", "mobilenet_v"]),
        (["cost", "mobilenet_v1", "--width", "0"], ["width 0", "above 0"]),
        (["cost", "mobilenet_v1", "--resolution", "8"], ["resolution 8", "16"]),
        (["cost", "mobilenet_v1", "--widht", "0.5"], ["--widht", "did you mean --width?"]),
        (["models", "a", "b"], ["unexpected argument 'b'"]),
    ],
)
def test_what_is_typed_wrong_ends_with_2_and_one_line(command: Command, args: list[str], words: list[str]) -> None:
    assert_user_error(command(*args), *words)


def test_no_is_1_and_still_printed(ending: Callable[..., Ended]) -> None:
    ended = ending(lambda: Answer({"ok": False}, lambda: print("no"), ok=False), "--json")
    assert (ended.status, json.loads(ended.out)) == (1, {"ok": False})


def test_a_person_reads_what_show_prints(ending: Callable[..., Ended]) -> None:
    assert ending(lambda: Answer({}, lambda: print("a table"))) == Ended(0, "a table\n", "")


def test_what_libraries_print_goes_to_stderr(ending: Callable[..., Ended]) -> None:
    def work() -> Answer:
        print("a library talks")
        return Answer([1], lambda: None)

    assert ending(work, "--json") == Ended(0, "[\n  1\n]\n", "a library talks\n")


def test_a_users_mistake_is_one_line_even_when_the_message_has_more(ending: Callable[..., Ended]) -> None:
    assert ending(raising(UserError("one\n  two"))) == Ended(2, "", "error: one two\n")


@pytest.mark.parametrize(
    ("number", "error_type"),
    [
        (errno.ENOSPC, OSError),
        (errno.EROFS, OSError),
        (errno.EACCES, PermissionError),
        (errno.ENOTDIR, NotADirectoryError),
        (errno.EISDIR, IsADirectoryError),
    ],
)
def test_an_error_of_the_system_names_the_path(
    ending: Callable[..., Ended], number: int, error_type: type[OSError]
) -> None:
    error = OSError(number, os.strerror(number), "some/where")
    assert type(error) is error_type
    assert ending(raising(error)) == Ended(2, "", f"error: some/where: {os.strerror(number)}\n")


def test_a_full_disk_told_by_a_library_in_rust_is_the_same_error(ending: Callable[..., Ended]) -> None:
    error = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert ending(raising(error)) == Ended(2, "", f"error: {os.strerror(28)}\n")


def test_a_failed_write_without_a_path_names_what_was_to_be_written(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def writes(*, out: str) -> Answer:
        """Writes."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(networks, "models", writes)
    assert command("models", "--out", "the/run") == Ended(2, "", f"error: the/run: {os.strerror(errno.ENOSPC)}\n")


@pytest.mark.parametrize("error", [ValueError("odd"), OSError("no number"), KeyError("k"), AssertionError()])
def test_our_fault_is_3_with_the_traceback_and_a_request(ending: Callable[..., Ended], error: Exception) -> None:
    ended = ending(raising(error))
    assert ended.status == 3
    assert ended.out == ""
    assert "Traceback" in ended.err
    assert type(error).__name__ in ended.err
    assert "Please report it" in ended.err.splitlines()[-1]


def test_not_a_number_never_reaches_json(ending: Callable[..., Ended]) -> None:
    ended = ending(lambda: Answer({"loss": float("nan")}, lambda: None), "--json")
    assert (ended.status, ended.out) == (3, "")


def test_memory_that_runs_out_is_the_environment(ending: Callable[..., Ended]) -> None:
    assert_user_error(ending(raising(MemoryError())), "out of memory")


def test_interrupted_is_130_and_says_how_to_go_on(ending: Callable[..., Ended]) -> None:
    ended = ending(raising(KeyboardInterrupt()))
    assert (ended.status, ended.out) == (130, "")
    assert ended.err.startswith("interrupted; run the same command again")
    assert len(ended.err.splitlines()) == 1


def test_sigterm_is_143_and_says_how_to_go_on(ending: Callable[..., Ended]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ended = ending(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert (ended.status, ended.out) == (143, "")
    assert ended.err.startswith("ended by SIGTERM; run the same command again")
    assert len(ended.err.splitlines()) == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_of_several_processes_the_first_alone_speaks(
    ending: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    answer = Answer({"a": 1}, lambda: None)
    assert ending(lambda: answer, "--json") == Ended(0, "", "")
    assert ending(raising(UserError("bad"))) == Ended(2, "", "")
    assert "Traceback" in ending(raising(ValueError())).err  # a fault is told by whoever has it
    monkeypatch.setenv("RANK", "0")
    assert ending(lambda: answer, "--json").out
    assert ending(raising(UserError("bad"))).err == "error: bad\n"


def test_names_that_are_no_unicode_are_printed(ending: Callable[..., Ended]) -> None:
    name = os.fsdecode(b"bild\xff.jpg")
    ended = ending(lambda: Answer({"file": name}, lambda: None), "--json")
    assert json.loads(ended.out) == {"file": name}


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert shell("--help").status == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time: what a clock on the wall shows where nothing else runs
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.3
    code = (
        "import sys; from mobilenets.cli.main import main; main(['--help']); main(['--version']);"
        "print([m for m in ('torch', 'numpy', 'cv2', 'tyro', 'rich') if m in sys.modules])"
    )
    assert _python(code).endswith("[]\n")


@pytest.mark.parametrize("name", VERBS)
def test_a_verbs_help_does_not_import_torch(name: str) -> None:
    args = [*name.split(), "--help"]
    code = f"import sys; from mobilenets.cli.main import main; main({args!r}); print('torch' in sys.modules)"
    assert _python(code).endswith("False\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from mobilenets.cli.main import run; sys.argv = ['mobilenets', 'models', '--json']; run()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mobilenets", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "error: stdout: No space left on device\n")


def test_no_escape_codes_where_nobody_looks() -> None:
    ended = shell("cost", "mobilenet_v3_small", env={"TERM": "xterm-256color"})
    assert ended.status == 0
    assert "\x1b" not in ended.out + ended.err
    assert "2,542,856" in ended.out


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
